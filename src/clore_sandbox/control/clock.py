"""Controls of market time: read, speed up, jump ahead, freeze."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from clore_sandbox.control import schemas
from clore_sandbox.control.base import ControlBase
from clore_sandbox.control.operation import operation

if TYPE_CHECKING:
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["ClockControls", "ClockState"]


@dataclass(frozen=True)
class ClockState:
    """Market time in unix seconds, market seconds per second, and whether it stands still."""

    now: float
    speed: float
    frozen: bool

    def to_json(self) -> JsonObject:
        """The fields as JSON."""
        return asdict(self)


class ClockControls(ControlBase):
    """Every one of them returns the clock as it then runs."""

    def _state(self) -> ClockState:
        clock = self._market.clock
        return ClockState(clock.now_ms() / 1000, clock.speed, clock.frozen)

    @operation("GET", result=schemas.CLOCK)
    async def clock(self) -> ClockState:
        """Market time in unix seconds, its speed, and whether it is frozen."""
        return self._state()

    @operation(result=schemas.CLOCK)
    async def speed(self, factor: float) -> ClockState:
        """Set how many market seconds pass in a second."""
        self._market.clock.set_speed(factor)
        return self._state()

    @operation(result=schemas.CLOCK)
    async def jump(self, seconds: float) -> ClockState:
        """Move market time ahead; everything due on the way happens, and is billed.

        Raises:
            ValueError: `seconds` is below 0: market time never goes back.
        """
        await self._market.timetable.jump(seconds)
        await self._market.settle()
        return self._state()

    @operation(result=schemas.CLOCK)
    async def freeze(self) -> ClockState:
        """Stop market time; `jump` still moves it."""
        self._market.clock.freeze()
        return self._state()

    @operation(result=schemas.CLOCK)
    async def unfreeze(self) -> ClockState:
        """Let market time run again, at the speed it had."""
        self._market.clock.unfreeze()
        return self._state()
