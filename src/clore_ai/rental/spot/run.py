"""A spot order that is steered: its settings, its state and its events. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable, Literal

from clore_ai.exceptions import InvalidInputError
from clore_ai.models import price as prices
from clore_ai.models.price import Price
from clore_ai.rental.market.cost import FEE_SHARE
from clore_ai.rental.spend.lease import moment
from clore_ai.rental.spot.bidding import Autobid
from clore_ai.rental.spot.report import SpotReport

if TYPE_CHECKING:
    from clore_ai.models import Order
    from clore_ai.rental.limits.expiry import Limit
    from clore_ai.rental.spot.fallback import Fallback
    from clore_ai.rental.spot.report import Reason

EVERY_S = 20.0
_LEAST_EVERY_S = 0.05
_ROUNDING = 1.0001

Kind = Literal[
    "begins", "runs", "outbid", "beaten", "waits", "offline", "refused",
    "raised", "lowered", "trouble", "rented", "near", "ends",
]  # fmt: skip

_SENTENCES: dict[Kind, str] = {
    "begins": "Looking at {0}",
    "runs": "Runs at {1}",
    "outbid": "Outbid at {1}",
    "beaten": "The limit is outbid; waits, unbilled, at {1}",
    "waits": "Waits: {0}",
    "offline": "Its host is offline",
    "refused": "Its host no longer accepts {2}",
    "raised": "Raised to {1}",
    "lowered": "Lowered to {1}",
    "trouble": "{0}",
    "rented": "Rented instead: {0}",
    "near": "{0}",
    "ends": "",
}


@dataclass(frozen=True)
class SpotEvent:
    """An event of an order that is steered.

    `event`: ``begins``; the standing: ``runs``, ``outbid``, ``beaten`` (rivals bid above the
    limit), ``waits`` (no bid helps), ``offline``, ``refused`` (its coin); an action: ``raised``,
    ``lowered``, ``rented`` (the fallback, `new_order_id`); ``near`` the end of its lease
    or its cost limit; ``trouble``; ``ends``.
    """

    event: Kind
    order_id: int
    at: float
    """Unix seconds by the service's clock."""
    bid: float | None
    """Coin per **day**."""
    usd_per_hour: float | None
    """The bid in USD per **hour**; None if the coin's value is unknown."""
    message: str
    new_order_id: int | None = None
    currency: str = ""
    """The coin of the order."""
    sentence: str = field(repr=False, default="")
    """The event for the user; empty if there is nothing to say."""

    def row(self) -> dict[str, Any]:
        """The values that are known, as ``clore spot auto --json`` shows them."""
        values = asdict(self)
        del values["sentence"]
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class SpotSettings:
    """How to steer an order; give one of the two limits.

    Raises:
        InvalidInputError: a number is out of range.
    """

    max_usd_per_hour: float | None = None
    max_per_day: float | None = None
    """In the order's coin."""
    every_s: float = EVERY_S
    for_s: float | None = None
    headroom: float = 0.0
    fallback: Fallback | None = None
    once: bool = False

    def __post_init__(self) -> None:
        if (self.max_usd_per_hour is None) == (self.max_per_day is None):
            raise InvalidInputError("Give max_usd_per_hour or max_per_day, one of them.", 2)
        for name in ("max_usd_per_hour", "max_per_day", "for_s"):
            value: float | None = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InvalidInputError(f"{name} must be a number above 0, not {value!r}.", 2)
        if not _LEAST_EVERY_S <= self.every_s < math.inf:
            raise InvalidInputError(
                f"every_s is the number of seconds between looks, not {self.every_s!r}.", 2
            )
        if not 0 <= self.headroom <= 1:
            raise InvalidInputError(
                f"headroom is a share from 0 to 1 (0.05 is 5 %), not {self.headroom!r}.", 2
            )


@dataclass
class SpotRun:
    """One order that is steered; may be read at any time, also after the flow was stopped."""

    order_id: int
    wishes: SpotSettings
    on_event: Callable[[SpotEvent], object] = lambda _event: None
    stop: Callable[[], bool] = lambda: False
    auto: Autobid = field(default_factory=Autobid)
    order: Order | None = None
    asked: float | None = None
    """A bid that was sent, but whose answer is not known."""
    rate: float | None = None
    """USD for one coin."""
    limit: float = 0.0
    """Coin per **day**."""
    on_demand: float | None = None
    """The list price of the server on demand, coin per **day**, as last seen."""
    listed_at: float | None = None
    ordered_at: float = 0.0
    at: float = 0.0
    """When it was last looked at: unix seconds by the service's clock."""
    over: bool = False
    last: str = ""
    """The last message, so that it is not repeated."""
    tried_at: float | None = None
    """When the fallback was last tried."""
    new_order: Order | None = None
    moved_from: SpotReport | None = None
    keeps: bool = True
    """Does it keep the order's limits? Not if its caller does."""
    limit_reached: Limit | None = None
    newest: int | None = None
    """The ledger's newest intent before the steering; None if that has not begun."""

    @property
    def coin(self) -> str:
        """What the order is paid in."""
        return (self.order and self.order.currency) or ""

    def price(self, per_day: float) -> Price:
        """The price object for this much of the order's coin per **day**."""
        return Price(per_day, self.coin, self.rate)

    def in_words(self, per_day: float | None) -> str:
        """A bid per hour and per day in USD, and in the coin."""
        paid = "" if self.coin == prices.USD else f" = {prices.coin(per_day)} {self.coin}/day"
        return f"{prices.in_words(self.usd_per_hour(per_day))}{paid}"

    @property
    def lowers(self) -> str:
        """The size and time of the next lowering, as far as they are known."""
        step, at = self.auto.step, self.auto.lower_at
        most = "" if step is None else f"by at most {self.in_words(step)}, "
        return f"{most}once in 10m; next {f'at {moment(at)}' if at > self.at else 'now'}"

    def usd_per_hour(self, per_day: float | None) -> float | None:
        """The same in USD per hour; None if unknown."""
        return None if per_day is None else self.price(per_day).usd_per_hour

    def fix_fallback(self) -> Fallback | None:
        """The fallback; on demand it may cost no more than now, where no limit was given."""
        fallback, now = self.wishes.fallback, self.usd_per_hour(self.on_demand)
        if now is not None and fallback is not None and fallback.to == "on-demand":
            most = fallback.max_usd_per_hour
            fallback = replace(fallback, max_usd_per_hour=now * _ROUNDING if most is None else most)
            self.wishes = replace(self.wishes, fallback=fallback)
        return fallback

    def emit(self, event: Kind, at: float, message: str, new_order_id: int | None = None) -> None:
        """Pass an event to the caller; the standing, and trouble, only if it is new."""
        self.at = at
        if event not in ("raised", "lowered", "rented"):
            if f"{event} {message}" == self.last:
                return
            self.last = f"{event} {message}"
        bid = self.auto.bid
        text = _SENTENCES[event].format(message, self.in_words(bid), self.coin)
        if event == "lowered":
            text += f"; lowers {self.lowers}"
        usd = self.usd_per_hour(bid)
        self.on_event(
            SpotEvent(event, self.order_id, at, bid, usd, message, new_order_id, self.coin, text)
        )

    def report(self, ended: Reason) -> SpotReport:
        """The report as of now."""
        auto, order = self.auto, self.order
        spend = None
        if order is not None and order.spend is not None:
            spend = max(0.0, order.spend - (auto.spend_before or 0.0))
        on_demand = self.on_demand and (
            auto.on_demand if spend is None else auto.on_demand_for(spend, self.on_demand)
        )
        return SpotReport(
            self.order_id,
            (order and order.server_id) or 0,
            self.coin,
            ended,
            auto.bid,
            self.rate,
            auto.seen_s,
            auto.held_s,
            auto.outbids,
            auto.raised,
            auto.lowered,
            spend,
            None if spend is None else spend * FEE_SHARE["spot"],
            None if on_demand is None else on_demand * (1 + FEE_SHARE["on-demand"]),
            order,
            self.new_order,
            self.moved_from,
        )
