"""What is kept of a rental, and what errors carry of it: intents, budgets, inspections. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

State = Literal["open", "created", "refused", "uncertain"]

Enforced = Literal["always", "watched", "reap"]

Per = Literal["day", "month"]

USD_VALUE = "USD"
"""The unit of a budget over all coins, by what they are worth; others are a coin's name."""


@dataclass
class Intent:
    """One wish to rent, and what became of it. Times are unix seconds by the service's clock.

    `state`: ``open`` while it is on its way, ``created`` once the order is known, ``refused``
    when the service surely did nothing, ``uncertain`` when an order may exist unseen.
    """

    server_id: int
    type: str
    currency: str
    image: str
    client_ref: str | None = None
    purpose: str | None = None
    """What it is for, in the user's words."""
    lease_s: float | None = None
    """How long it may run, in seconds; None for no end of its own."""
    max_cost_usd: float | None = None
    """What it may cost in all, in USD, fees in."""
    price: float | None = None
    """Coin per **day**, without the renter's fee."""
    usd_per_coin: float | None = None
    """At the time of rental; None where unknown."""
    opened_at: float = 0.0
    posted_at: float | None = None
    """Just before the request was first sent."""
    answered_at: float | None = None
    """When the request was answered or given up; None where its process ended before."""
    state: State = "open"
    reason: str | None = None
    """Why it was refused, or how it ended."""
    order_id: int | None = None
    newest_id: int | None = None
    """The newest of all orders just before."""
    known_ids: frozenset[int] = field(default_factory=frozenset[int], repr=False)
    """The orders on this server just before, ended ones too: a new one is not among them."""
    gpu: str | None = None
    creation_fee: float | None = None
    started_at: float | None = None
    """`ct` of the order."""
    mrl_s: float | None = None
    """The longest that the service lets it run, in seconds."""
    ends_at: float | None = None
    """When its lease is over."""
    spend: float | None = None
    """In the coin, without fees, as the service last said."""
    seen_at: float | None = None
    """When the service was last seen to list it."""
    missing_at: float | None = None
    """Since when it does not, by looks that count (`rental.gone`)."""
    ended_at: float | None = None
    """None while it runs, as far as is known."""
    unacknowledged: bool = False
    """Whoever rented it may not know its order: a later look found it, or the command that made
    it has not said so yet. False again once it was shown, or the user said to keep it."""
    enforced: Enforced = "always"
    """Who ends it at its limits: ``always``; ``watched``, no process in the background
    (``--no-keeper``); ``reap`` alone, where its lease is a default that nobody was shown."""
    id: int | None = None
    """Its row in the ledger."""

    @property
    def runs(self) -> bool:
        """Is it, as far as is known, an order that is billed?"""
        return self.state == "created" and self.ended_at is None


@dataclass(frozen=True)
class Balance:
    """What a wallet held at a moment."""

    coin: str
    at: float
    balance: float


@dataclass(frozen=True)
class Budget:
    """At most `amount`, in `unit`, a calendar day or month of UTC."""

    unit: str
    per: Per
    amount: float


@dataclass(frozen=True)
class BudgetStanding:
    """How a budget stands, in its unit. `unknown`: why it can't be told, None where it can."""

    budget: Budget
    ends_at: float
    """When its period ends."""
    spent: float
    committed: float
    unknown: str | None = None

    @property
    def left(self) -> float:
        """What may still be committed; below 0 where it is overdrawn."""
        return self.budget.amount - self.spent - self.committed


@dataclass(frozen=True)
class Without:
    """What would match if these conditions were dropped."""

    names: tuple[str, ...]
    servers: int
    from_usd_per_hour: float | None
    """The cheapest, fees in."""


@dataclass(frozen=True)
class NoMatch:
    """Why nothing matched."""

    seen: int
    """All servers."""
    steps: tuple[tuple[str, int], ...]
    """Each condition, and how many servers were left after it and those before it."""
    without: tuple[Without, ...]
    """The fewest conditions (one, else two) without which something matches, the most first."""
    near: tuple[str, ...] = ()
    """Where no server at all has the GPU: what comes near, see `listing.near`."""


@dataclass(frozen=True)
class Inspection:
    """What was found there."""

    gpus: tuple[str, ...] = ()
    memory_gb: tuple[float, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    disk_free_gb: float | None = None
    disk_mb_s: float | None = None
    """Writing 16 MB, to the disk."""
    mbit_s: float | None = None
    """From there to here over SSH, login and all: it is at least this fast."""
    faults: tuple[str, ...] = ()
    """What is not as promised, a clause each; none: it is good."""


RentEventKind = Literal[
    "trying", "lost", "created", "raised", "up", "rented", "failed", "cancelling", "cancelled",
    "uncancelled", "near", "limit",
]  # fmt: skip


@dataclass(frozen=True)
class RentEvent:
    """One thing that happened on the way.

    `what`: ``trying`` an offer; ``lost`` it (nothing was rented, it is no attempt); ``created`` its
    order, which is billed from here on; ``raised``: it was outbid, and its bid is another; ``up``:
    SSH logs in; ``rented``: it is good; ``failed``: it is not, for this `reason`; ``cancelling``
    it; ``cancelled``; ``uncancelled``: it may still run. And later: it is ``near`` the end of its
    lease, or of what it may cost; at that ``limit`` it is cancelled.
    """

    what: RentEventKind
    attempt: int
    """From 1 on."""
    server_id: int
    order_id: int | None = None
    reason: str | None = None
    seconds: float | None = None
    """Since the order was made."""
    usd_per_hour: float | None = None
    """The price that is tried, or the bid that was set, without the fee; None where unknown."""
    seen: Inspection | None = None


@dataclass(frozen=True)
class Gpu:
    """One line of `nvidia-smi`; None for what it does not say."""

    index: int
    use_percent: float | None
    temperature_c: float | None
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None


@dataclass(frozen=True)
class GpuReading:
    """`gpus` of one reading, or `why` the connection is down; at a time that never jumps."""

    order_id: int
    mono: float
    gpus: tuple[Gpu, ...] = ()
    why: str = ""
