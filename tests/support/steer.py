"""Steers a spot order while a script runs; for the tests of the autopilot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from clients import Api

USD = "USD-Blockchain"
TICK = 1e-8
WITHIN_S = 30.0


def bid_of(api: Api, server: int, order: int) -> float:
    return next(o.bid for o in api.spot_marketplace(server).offers if o.order_id == order)


def bids(api: Api, server: int, price: float) -> int:
    """A new spot order in USD."""
    return api.rent(server, type="spot", currency=USD, spot_price=price).id


GOES_ON = (None, None)
"""At the end of a script: the autopilot is not stopped there."""


class Play:
    """Steers an order while a script runs: each act is performed once its condition holds.

    A script is pairs of a condition on the events so far and an act; the last act ends the run.
    Without a script the autopilot goes on until it ends by itself.
    """

    def __init__(self, api: Api, order: int, *script: tuple[Any, Callable[[], Any]]) -> None:
        api.client.session.bids.every_s = 0  # the marketplace's clock is moved, this one is not
        self.api, self.order = api, order
        self.script = [step for step in script if step is not GOES_ON]
        self.goes_on = GOES_ON in script or not script
        self.events: list[Any] = []

    @property
    def kinds(self) -> list[str]:
        return [e.event for e in self.events]

    def _stop(self) -> bool:
        while self.script and self.script[0][0](self):
            self.script.pop(0)[1]()
        return not self.script and not self.goes_on

    def run(self, **options: Any) -> Any:
        wishes = {"every_s": 0.05, "for_s": WITHIN_S, **options}
        self.report = self.api.spot_auto(
            self.order, on_event=self.events.append, stop=self._stop, **wishes
        )
        assert not self.script, self.events
        return self.report


def seen(*kinds: str) -> Callable[[Play], bool]:
    """True once these events came in this order, whatever came between."""

    def check(play: Play) -> bool:
        rest = iter(play.kinds)
        return all(kind in rest for kind in kinds)

    return check


def nothing() -> None:
    """The end of a script."""
