"""Records of rentals, also carried by errors: intents, budgets, inspections. Dataclasses. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["open", "created", "refused", "uncertain"]

Enforced = Literal["always", "watched", "reap"]

Per = Literal["day", "month"]

USD_VALUE = "USD"
"""The unit of a budget over all coins, by their value; any other unit is a coin's name."""


@dataclass
class Intent:
    """One attempt to rent, and its outcome. Times are unix seconds by the service's clock.

    `state`: ``open`` while the request is on its way, ``created`` once the order is known,
    ``refused`` if the service certainly did nothing, ``uncertain`` if an order may exist that was
    not found.

    The fields are the ledger's columns: a new field needs a new step in `_state.sqlite.schema`.
    """

    server_id: int
    type: str
    currency: str
    image: str
    client_ref: str | None = None
    purpose: str | None = None
    """What the order is for, in the user's words."""
    lease_s: float | None = None
    """The lease, in seconds; None for none."""
    max_cost_usd: float | None = None
    """The cost limit in USD, fees included."""
    price: float | None = None
    """Coin per **day**, without the renter's fee."""
    usd_per_coin: float | None = None
    """At the time of rental; None if unknown."""
    opened_at: float = 0.0
    posted_at: float | None = None
    """Just before the request was first sent."""
    answered_at: float | None = None
    """When the request was answered or given up; None if its process ended before."""
    state: State = "open"
    reason: str | None = None
    """Why the order was refused, or how it ended."""
    order_id: int | None = None
    newest_id: int | None = None
    """The newest of all orders just before the request."""
    known_ids: frozenset[int] = field(default_factory=frozenset[int], repr=False)
    """The orders on this server just before the request, including ended ones."""
    gpu: str | None = None
    creation_fee: float | None = None
    started_at: float | None = None
    """The order's `ct`."""
    mrl_s: float | None = None
    """The longest that the service lets it run, in seconds."""
    ends_at: float | None = None
    """When its lease is over."""
    spend: float | None = None
    """The amount that the service last reported, in the coin, without fees."""
    seen_at: float | None = None
    """When the service last listed the order."""
    missing_at: float | None = None
    """Since when the service has not listed it, by the looks that count (`rental.gone`)."""
    ended_at: float | None = None
    """None while it runs, as far as is known."""
    unacknowledged: bool = False
    """The user may not know of the order: a later look found it, or its command has not reported it
    yet. False again once it was shown, or once the user chose to keep it."""
    enforced: Enforced = "always"
    """Who ends it at its limits. ``always``: any process that watches, in the background too.
    ``watched``: only a running command, no background process (``--no-keeper``). ``reap``: only
    `clore reap`, since its lease is a default that was not shown."""
    id: int | None = None
    """The row in the ledger."""

    @property
    def runs(self) -> bool:
        """As far as is known, is it an order that is billed?"""
        return self.state == "created" and self.ended_at is None


@dataclass(frozen=True)
class Balance:
    """The balance of a wallet at a moment."""

    coin: str
    at: float
    balance: float


@dataclass(frozen=True)
class Budget:
    """At most `amount`, in `unit`, per calendar day or month of UTC."""

    unit: str
    per: Per
    amount: float


@dataclass(frozen=True)
class BudgetStanding:
    """The state of a budget, in its unit. `unknown`: why it can't be determined, or None."""

    budget: Budget
    ends_at: float
    """When the period ends."""
    spent: float
    committed: float
    unknown: str | None = None

    @property
    def left(self) -> float:
        """The amount that may still be committed; below 0 if the budget is overdrawn."""
        return self.budget.amount - self.spent - self.committed

    def row(self) -> dict[str, Any]:
        """The budget and its state for ``--json``."""
        known = self.unknown is None
        return {
            **asdict(self.budget),
            "spent": self.spent if known else None,
            "committed": self.committed if known else None,
            "left": self.left if known else None,
            "ends_at": self.ends_at,
            "unknown": self.unknown,
        }


@dataclass(frozen=True)
class Without:
    """The servers that would match if these conditions were dropped."""

    names: tuple[str, ...]
    servers: int
    from_usd_per_hour: float | None
    """The cheapest, fees included."""


@dataclass(frozen=True)
class NoMatch:
    """Why nothing matched."""

    seen: int
    """All servers."""
    steps: tuple[tuple[str, int], ...]
    """Each condition, and how many servers met it and those before it."""
    without: tuple[Without, ...]
    """The fewest conditions (one, else two) without which servers match; most servers first."""
    near: tuple[str, ...] = ()
    """Similar GPUs, if no server has the wanted one; see `listing.near`."""


@dataclass(frozen=True)
class Inspection:
    """The result of verifying a machine."""

    gpus: tuple[str, ...] = ()
    memory_gb: tuple[float, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    disk_free_gb: float | None = None
    disk_mb_s: float | None = None
    """Measured by writing 16 MB to the disk."""
    mbit_s: float | None = None
    """From the machine to here over SSH, login included, so the network is at least this fast."""
    faults: tuple[str, ...] = ()
    """What differs from the promise, a clause each; empty if the machine is good."""


RentEventKind = Literal[
    "trying", "lost", "created", "raised", "up", "rented", "failed", "cancelling", "cancelled",
    "uncancelled", "near", "limit",
]  # fmt: skip


@dataclass(frozen=True)
class RentEvent:
    """One event of renting.

    `what`: ``trying`` an offer; ``lost`` it (nothing was rented, and it does not count as an
    attempt); ``created`` the order, which is billed from here on; ``raised`` its bid after it was
    outbid; ``up``: SSH logs in; ``rented``: the machine is verified; ``failed``: it is not, for
    this `reason`; ``cancelling`` the order; ``cancelled``; ``uncancelled``: it may still run.
    Later: the order is ``near`` its lease's end or cost limit; at that ``limit`` it is cancelled.
    """

    what: RentEventKind
    attempt: int
    """Counted from 1."""
    server_id: int
    order_id: int | None = None
    reason: str | None = None
    seconds: float | None = None
    """Since the order was created."""
    usd_per_hour: float | None = None
    """The price that is tried, or the bid that was set, without the fee; None if unknown."""
    seen: Inspection | None = None
    message: str = ""
    """The event in a sentence, for the user."""


@dataclass(frozen=True)
class Gpu:
    """One line of `nvidia-smi`; None for values that it does not report."""

    index: int
    use_percent: float | None
    temperature_c: float | None
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None


@dataclass(frozen=True)
class GpuReading:
    """The `gpus` of one reading, or `why` the connection is down; by the monotonic clock."""

    order_id: int
    mono: float
    gpus: tuple[Gpu, ...] = ()
    why: str = ""
