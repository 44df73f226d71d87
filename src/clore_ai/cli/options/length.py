"""The type of options that take a length of time: ``90s``, ``30m``, ``6h``, ``2d``.

A number alone is seconds, unless the option's name has another unit (``--max-hours``).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Literal

import click

from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from click import Context, Parameter

    _Type = click.ParamType[float]
else:
    _Type = click.ParamType  # not generic in click 8.1, the last version for Python 3.9

_ALONE = {"s": "90s, or a number alone, is seconds", "h": "a number alone is hours"}


class Length(_Type):
    """Seconds, from `least_s` to `most_s`; 0 is allowed only if `least_s` is 0.

    Args:
        least_s: the minimum; None for anything above 0.
        most_s: the maximum.
        endless: also accept ``none``: no end, returned as `inf`.
        alone: the unit of a number that has none.
    """

    name = "length"

    def __init__(
        self,
        least_s: float | None = None,
        most_s: float = inf,
        *,
        endless: bool = False,
        alone: Literal["s", "h"] = "s",
    ) -> None:
        self._least_s, self._most_s, self._endless, self._alone = least_s, most_s, endless, alone

    def convert(self, value: object, param: Parameter | None, ctx: Context | None) -> float:
        """The text in seconds; a number is returned as it is."""
        if isinstance(value, (int, float)):
            return value
        from clore_ai.rental.spend import lease

        text = str(value)
        try:
            is_zero = self._least_s == 0 and _is_zero(text)
            seconds = 0.0 if is_zero else lease.read(text, self._alone)
        except InvalidInputError:
            self.fail(f"{text!r} is not a length of time; {self._forms()}.", param, ctx)
        if seconds is None:
            if not self._endless:
                self.fail(f"it can't be {text!r}; {self._forms()}.", param, ctx)
            return inf
        if self._least_s is not None and seconds < self._least_s:
            self.fail(f"{text!r} is too short; give {self._least_s:g}s or more.", param, ctx)
        if seconds > self._most_s:
            self.fail(f"{text!r} is too long; give {self._most_s:g}s or less.", param, ctx)
        return seconds

    def _forms(self) -> str:
        forms = "write 90m, 6h, 2d or none" if self._endless else "write 90m, 6h or 2d"
        return f"{forms} ({_ALONE[self._alone]})"


def _is_zero(text: str) -> bool:
    try:
        return float(text.strip().lower().rstrip("smhd")) == 0
    except ValueError:
        return False
