"""Watches orders: their events, those of the wallets that pay for them, and which orders idle.

A `Monitor` is a state: lists of orders, wallets, GPU readings and connection changes go in, events
come out; it sends no request and has no clock (`poll` does the asking). Missing data never counts
against an order: only readings close together count as idle time.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from clore_ai._api.steps import Flow, clock, local
from clore_ai.exceptions import CloreAPIError, ConfigError
from clore_ai.models.price import DAY_S
from clore_ai.models.records import Gpu
from clore_ai.rental.gone import Listings
from clore_ai.rental.market.cost import CREATION_FEE_AFTER_S, fees, spent
from clore_ai.rental.orders import orphans, reconcile
from clore_ai.rental.spend import lease, warnings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from clore_ai._api.steps import Instant
    from clore_ai.models import Order
    from clore_ai.models.price import Price
    from clore_ai.models.records import Intent
    from clore_ai.rental.limits.expiry import Limit
    from clore_ai.rental.orders.cancel import Cancelling
    from clore_ai.rental.session import Session

IDLE_PERCENT = 5.0
"""A GPU used no more than this is idle."""
GAP_S = 60.0
"""Readings further apart than this say nothing about the time between."""
WARN_SHARE = 0.8
"""An order is warned at this share of the time after which it is cancelled for idling."""
IDLE_REPORTED_S = 1800.0
"""If idle orders are not cancelled, one that has idled this long is reported."""
SSH_LOST_S = 15.0
"""A connection that comes back sooner than this was not lost."""
WALLET_NEAR_S = 3600.0
_INDEX, _NUMBER = re.compile(r"[0-9]{1,4}"), re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?")

OrderEventKind = Literal[
    "order", "state", "host_lost", "host_back", "ssh_up", "ssh_lost", "idle", "busy", "idle_over",
    "lease_near", "near", "cancelled", "failed", "wallet_dry", "wallet_ok", "ended", "trouble",
]  # fmt: skip


@dataclass(frozen=True)
class OrderEvent:
    """One event of an order or a wallet, with a sentence."""

    what: OrderEventKind
    order_id: int | None
    message: str
    reason: str | None = None
    """Why an order ended, as `clore ledger` shows it."""
    limit: Limit | None = None
    """The limit that is `near`, or that ended the order."""
    cancelling: Cancelling | None = None
    """Of ``"cancelled"`` and ``"failed"``: what became of the order."""

    def row(self) -> dict[str, Any]:
        """The event for ``--json``, without its time."""
        limit = {} if self.limit is None else self.limit.row()
        if self.cancelling is not None:
            return {"event": self.what, **limit, **self.cancelling.row()}
        known = {"event": self.what, **limit, "order_id": self.order_id, "message": self.message}
        return known if self.reason is None else {**known, "reason": self.reason}


@dataclass
class WatchedOrder:
    """One order as it was last seen."""

    order: Order
    price: Price | None = None
    """Without fees; None if it is unknown."""
    ends_at: float | None = None
    """The end of its lease, unix seconds."""
    gpus: Sequence[Gpu] = ()
    read_at: float | None = None
    """When `gpus` were read, on the monotonic clock."""
    ssh: Literal["", "up", "down"] = ""
    why: str = ""
    """Why the connection is down."""
    down_at: float | None = None
    idle_s: float = 0.0
    """How long all GPUs have idled, as far as readings show."""
    is_other: bool = False
    """It is not in the ledger, so it is not cancelled for idling."""
    warned: bool = False
    over: bool = False
    near: bool = False
    lost: bool = False

    @property
    def use_percent(self) -> float | None:
        """The use of the busiest GPU."""
        return max((g.use_percent for g in self.gpus if g.use_percent is not None), default=None)

    @property
    def temperature_c(self) -> float | None:
        """The temperature of the hottest GPU."""
        known = (g.temperature_c for g in self.gpus if g.temperature_c is not None)
        return max(known, default=None)

    def row(self, now: float) -> dict[str, Any]:
        """The order for ``--json``; `now`: unix seconds by the service's clock."""
        order = self.order
        return {
            "order_id": order.id,
            "server_id": order.server_id,
            "gpu": order.gpu_model,
            "status": order.status,
            "host_online": order.online,
            "ssh": self.ssh or ("connecting" if order.ssh_command else None),
            "ssh_error": self.why or None,
            "ssh_command": order.ssh_command,
            "price_usd_per_hour": self.price and self.price.usd_per_hour,
            "price_usd_per_day": self.price and self.price.usd_per_day,
            "spend": order.spend,
            "currency": order.currency,
            "lease_ends_at": self.ends_at,
            "lease_left_s": None if self.ends_at is None else self.ends_at - now,
            "idle_s": self.idle_s,
            "gpus": [asdict(gpu) for gpu in self.gpus],
        }


def reading(line: str) -> Gpu | None:
    """Parse ``0, 57, 63, 1024, 24576``: index, use, temperature, memory; else None."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != 5 or not _INDEX.fullmatch(cells[0]):  # noqa: PLR2004 - see above
        return None
    return Gpu(int(cells[0]), *(_number(cell) for cell in cells[1:]))


def _number(cell: str) -> float | None:
    """None for ``[N/A]`` and the like."""
    return float(cell) if _NUMBER.fullmatch(cell) else None


@dataclass
class Monitor:
    """Some orders, or all. `idle_limit_s`: cancel orders that idle this long; None: never.

    Orders that are not in the ledger are never cancelled for idling, unless `others`.
    """

    ids: frozenset[int] | None = None
    idle_limit_s: float | None = None
    others: bool = False
    seen: dict[int, WatchedOrder] = field(default_factory=dict[int, WatchedOrder])
    dry: set[str] = field(default_factory=set[str])
    """Coins whose wallet was reported to run out."""
    listings: Listings = field(default_factory=Listings)

    def feed_orders(
        self,
        rows: Sequence[Order],
        intents: Mapping[int, Intent],
        now: Instant,
        unknown: Collection[int] = (),
        *,
        whole: bool = True,
        reasons: Mapping[int, str] = MappingProxyType({}),
    ) -> list[OrderEvent]:
        """Take the user's orders, ended ones included.

        `unknown`: those not in this ledger. `whole`: could all rows be read? `reasons`: why orders
        ended, as far as it is known.
        """
        events: list[OrderEvent] = []
        self.listings.feed(rows, intents.values(), now.wall, whole=whole)
        listed = {o.id: o for o in rows if self.ids is None or o.id in self.ids}
        for order_id in [i for i in self.seen if self.listings.of(i) == "gone"]:
            last = self.seen.pop(order_id).order
            events.append(_ended(listed.get(order_id, last), reasons.get(order_id)))
        for order in listed.values():
            if order.active:
                is_other = self.ids is None and not self.others and order.id in unknown
                events += self._order(order, intents.get(order.id), now, is_other=is_other)
        return events

    def _order(
        self, order: Order, intent: Intent | None, now: Instant, *, is_other: bool
    ) -> list[OrderEvent]:
        events: list[OrderEvent] = []
        seen = self.seen.get(order.id)
        if seen is None:
            seen = self.seen[order.id] = WatchedOrder(order)
            where = f"on server {order.server_id}, {order.status or 'state unknown'}"
            spared = ""
            if is_other and self.idle_limit_s is not None:
                spared = " It is not in this ledger and is not cancelled for idling; see --others."
            events.append(OrderEvent("order", order.id, f"Order {order.id} {where}.{spared}"))
        elif order.status != seen.order.status:
            said = f"Order {order.id} is {order.status}; it was {seen.order.status}."
            events.append(OrderEvent("state", order.id, said))
        seen.order, seen.is_other = order, is_other
        if (order.online is False) != seen.lost:
            seen.lost = not seen.lost
            events.append(_host(order, lost=seen.lost))
        seen.ends_at = None if intent is None else intent.ends_at
        near = intent is not None and lease.is_near(intent, now.wall)
        if near and not seen.near and seen.ends_at is not None:
            events.append(_near(order.id, seen.ends_at - now.wall))
        seen.near = near
        return events

    def feed_wallets(
        self,
        balances: Mapping[str, float],
        rows: Iterable[Order],
        running: Iterable[Intent],
        now: Instant,
    ) -> list[OrderEvent]:
        """Take each wallet's balance, the orders it pays for, and what the ledger knows of them."""
        events: list[OrderEvent] = []
        orders, kept = [o for o in rows if o.active], list(running)
        for coin, balance in sorted(balances.items()):
            left = left_s(coin, balance, orders)
            paid = [intent for intent in kept if intent.currency == coin]
            soon = left is not None and left < WALLET_NEAR_S
            early = left is not None and warnings.runs_dry(paid, now.wall, balance) is not None
            if left is not None and (soon or early) and coin not in self.dry:
                self.dry.add(coin)
                said = f"The {coin} wallet is empty in about {lease.left(left)}"
                events.append(OrderEvent("wallet_dry", None, f"{said}. Top up, or cancel in time."))
            elif not (soon or early) and coin in self.dry:
                self.dry.discard(coin)
                events.append(
                    OrderEvent("wallet_ok", None, f"The {coin} wallet is sufficient again.")
                )
        return events

    def feed_gpus(self, order_id: int, gpus: Sequence[Gpu], mono: float) -> list[OrderEvent]:
        """Take one reading of all GPUs of an order, made at `mono` on the monotonic clock."""
        seen = self.seen.get(order_id)
        if seen is None or not gpus:
            return []
        events = self.feed_ssh(order_id, mono, up=True)
        idled, before = _idles(seen.gpus), seen.read_at
        seen.gpus, seen.read_at = gpus, mono
        if not _idles(gpus):
            warned, seen.idle_s, seen.warned = seen.warned, 0.0, False
            if warned:
                events.append(OrderEvent("busy", order_id, f"Order {order_id} is busy again."))
            return events
        if idled and before is not None and 0 <= mono - before <= GAP_S:
            seen.idle_s += mono - before
        return events + self._idle(seen)

    def _idle(self, seen: WatchedOrder) -> list[OrderEvent]:
        order_id, idled = seen.order.id, lease.left(seen.idle_s)
        limit = None if seen.is_other else self.idle_limit_s
        if not seen.warned and seen.idle_s >= (
            IDLE_REPORTED_S if limit is None else limit * WARN_SHARE
        ):
            seen.warned = True
            if limit is None:
                then = f"and is billed. Stop paying: clore cancel {order_id}"
            else:
                left = lease.left(max(1.0, limit - seen.idle_s))
                then = f"and will be cancelled in {left}, unless its GPUs are used."
            return [OrderEvent("idle", order_id, f"Order {order_id} has idled for {idled} {then}")]
        if limit is not None and seen.warned and not seen.over and seen.idle_s >= limit:
            seen.over = True
            said = f"Order {order_id} has idled for {idled}: cancelling it."
            return [OrderEvent("idle_over", order_id, said)]
        return []

    def feed_ssh(self, order_id: int, mono: float, *, up: bool, why: str = "") -> list[OrderEvent]:
        """The connection to an order came up, or went down; call again while it stays down."""
        seen = self.seen.get(order_id)
        if seen is None:
            return []
        was, seen.why = seen.ssh, why
        if up:
            lost = was == "down" and seen.down_at is None
            seen.ssh, seen.down_at = "up", None
            if not was or lost:
                return [OrderEvent("ssh_up", order_id, f"SSH of order {order_id} is up.")]
            return []
        if was == "up":
            seen.ssh, seen.down_at = "down", mono
            seen.gpus, seen.read_at = (), None
        elif seen.down_at is not None and mono - seen.down_at >= SSH_LOST_S:
            seen.down_at = None
            said = f"SSH of order {order_id} is lost{f': {why}' if why else ''}."
            return [OrderEvent("ssh_lost", order_id, f"{said} Trying again.")]
        return []

    @property
    def over(self) -> list[int]:
        """Orders that idled too long, to be cancelled until they are gone."""
        return [order_id for order_id, seen in self.seen.items() if seen.over]


def left_s(coin: str, balance: float, orders: Iterable[Order]) -> float | None:
    """How long a wallet pays for these orders, fees included; None if it pays for none."""
    paid = [order for order in orders if order.currency == coin and order.price]
    a_day = sum(order.price + fees(order.type, order.price) for order in paid if order.price)
    # A creation fee not charged yet: less than ten minutes were billed.
    fee = sum(
        order.creation_fee or 0.0
        for order in paid
        if (order.spend or 0.0) < (order.price or 0.0) * CREATION_FEE_AFTER_S / DAY_S
    )
    return max(0.0, balance - fee) / a_day * DAY_S if a_day > 0 else None


def _idles(gpus: Sequence[Gpu]) -> bool:
    """Do all GPUs idle? Only if all are known."""
    return bool(gpus) and all(
        g.use_percent is not None and g.use_percent <= IDLE_PERCENT for g in gpus
    )


def _ended(order: Order, reason: str | None) -> OrderEvent:
    total = spent(order)
    cost = "" if total is None else f" It cost {total:.8g} {order.currency}, fees included."
    why = "" if reason is None else f": {reason}"
    return OrderEvent("ended", order.id, f"Order {order.id} has ended{why}.{cost}", reason)


def _host(order: Order, *, lost: bool) -> OrderEvent:
    if lost:
        said = f"The host of order {order.id} (server {order.server_id}) has gone offline."
        return OrderEvent("host_lost", order.id, f"{said} Stop paying: clore cancel {order.id}")
    return OrderEvent("host_back", order.id, f"The host of order {order.id} is online again.")


def _near(order_id: int, left: float) -> OrderEvent:
    if left <= 0:
        said = f"Order {order_id} is past its lease, and billed: clore reap ends it."
    else:
        said = (
            f"The lease of order {order_id} ends in {lease.left(left)}; keep it: "
            f"clore lease extend {order_id} 6h"
        )
    return OrderEvent("lease_near", order_id, said)


def poll(session: Session, monitor: Monitor, *, wallets: bool) -> Flow[list[OrderEvent]]:
    """Read the orders, and the `wallets` if that is due; returns what happened since.

    Raises:
        CloreAPIError: the service can't be asked; nothing is known to have happened.
    """
    rows = yield from reconcile.orders(session, include_completed=True)
    kept, unknown = yield from local(_kept, session, rows)
    now = yield from clock()
    by_order = {intent.order_id: intent for intent in kept if intent.order_id is not None}
    reasons: dict[int, str] = {}
    listed = {order.id: order for order in rows}
    for order_id, seen in monitor.seen.items():
        if session.listings.of(order_id) == "gone":
            order = listed.get(order_id, seen.order)
            reasons[order_id] = yield from reconcile.because(session, order)
    whole = not rows.unread
    events = monitor.feed_orders(rows, by_order, now, unknown, whole=whole, reasons=reasons)
    if wallets and any(order.active for order in rows):
        try:
            found = yield from reconcile.wallets(session)
        except CloreAPIError:
            return events  # at the next look
        balances = {w.name: w.balance for w in found if w.balance is not None}
        events += monitor.feed_wallets(balances, rows, kept, (yield from clock()))
    return events


def _kept(session: Session, rows: list[Order]) -> tuple[list[Intent], set[int]]:
    """The intents that run by the ledger, and the ids of `rows` that are not in the ledger."""
    kept: list[Intent] = []
    unknown = {order.id for order in rows}  # if the ledger can't be read, nothing is cancelled
    try:
        kept = session.ledger.running()
        unknown = {order.id for order in orphans.unknown(session.ledger, rows)}
    except ConfigError as exc:
        session.note_trouble(str(exc))
    return kept, unknown
