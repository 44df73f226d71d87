"""What to rent; `find` turns it into offers, `rent` into an order.

One `Wish` serves `rent`, `run` and `watch`, in the SDK and on the command line. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from clore_ai._api.order_request import OrderRequest
from clore_ai.exceptions import InvalidInputError
from clore_ai.rental.market.listing import Filter, version
from clore_ai.rental.orders import wait
from clore_ai.rental.spend.lease import DEFAULT_S, Limits, above_0

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from clore_ai.models import OrderType

Verify = Literal["none", "ssh", "gpu"]
Sort = Literal["price", "reliability", "gpu", "ram", "down"]

AUTO = "auto"
"""As a currency: the cheapest coin that the server accepts and the wallet covers."""
DEFAULT_IMAGE = "cloreai/ubuntu22.04-cuda12"
ATTEMPTS = 3
SORTS: tuple[Sort, ...] = ("price", "reliability", "gpu", "ram", "down")
VERIFIES: tuple[Verify, ...] = ("none", "ssh", "gpu")
PARAMETERS = {"gpu_count": "gpus", "countries": "country", "min_cuda": "cuda"}
"""The fields of `Filter` that have other names in `client.rent`."""
_SSH_PORT = {"22": "tcp"}


@dataclass(frozen=True)
class Wish:
    """Which server, at what price, with what setup, and how to verify it.

    Prices: `filter.max_price_usd` and `max_bid_usd` are USD per **hour** without the renter's fee,
    in whichever coin is paid; `spot_price` is coin per **day**.
    """

    filter: Filter = field(default_factory=Filter)
    type: OrderType = "on-demand"
    currency: str = AUTO
    """A coin by the service's name, or `AUTO`."""
    spot_price: float | None = None
    """The bid, in the coin per **day** for the whole server; with ``type="spot"`` only."""
    max_bid_usd: float | None = None
    """Or the highest bid, USD per **hour**: the order is rented at the lowest bid that wins."""
    sort: Sort = "price"
    """Which offer is the best; by default the cheapest, fees included."""
    avoid: frozenset[int] = frozenset()
    """Servers that are never rented, e.g. because this job was lost there before."""

    image: str = DEFAULT_IMAGE
    ports: Mapping[str, str] = field(default_factory=lambda: dict(_SSH_PORT))
    env: Mapping[str, str] | None = field(default=None, repr=False)
    ssh_key: str | None = field(default=None, repr=False)
    """A public key's text; None: the state folder's own key."""
    identity: Path | None = None
    """The file of the private key for `ssh_key`, if it is here."""
    jupyter_token: str | None = field(default=None, repr=False)
    command: str | None = field(default=None, repr=False)
    """Run at start-up."""

    verify: Verify = "gpu"
    """When it counts as rented: ``"none"`` once the order exists, ``"ssh"`` once SSH logs in,
    ``"gpu"`` once nvidia-smi shows the promised GPUs, and disk and network work, too."""
    verify_command: str | None = None
    """A shell line that must also end with 0 on the machine."""
    attempts: int = ATTEMPTS
    """How many orders may be tried until one works."""
    boot_deadline_s: float | None = None
    """How long each order may take until it is verified; see `boots_within_s`."""

    limits: Limits = field(default_factory=Limits)
    client_ref: str | None = None
    purpose: str | None = None

    def but(self, **changes: Any) -> Wish:  # noqa: ANN401 - any field, or one of its filter
        """A copy with other fields; fields of its `filter` may be named, too."""
        inner = {k: v for k, v in changes.items() if k in Filter.__dataclass_fields__}
        outer = {k: v for k, v in changes.items() if k not in inner}
        return replace(self, filter=replace(self.filter, **inner), **outer)

    @property
    def most_usd_per_hour(self) -> float | None:
        """The highest allowed price, or bid: USD per **hour** without the fee."""
        given = (self.filter.max_price_usd, self.max_bid_usd)
        return min((limit for limit in given if limit is not None), default=None)

    @property
    def boots_within_s(self) -> float:
        """`boot_deadline_s`; by default 480 s, or the lease if that is shorter."""
        return self.boot_deadline_s or wait.within("", None, self.limits.longest_s)

    def order(self, server_id: int, coin: str, price: float | None) -> OrderRequest:
        """The order of one server; `price`: the bid, or the list price seen, coin per **day**.

        Raises:
            InvalidInputError: the service would refuse it.
        """
        return OrderRequest(
            server_id,
            self.image,
            self.type,
            coin,
            ssh_key=self.ssh_key,
            ports=self.ports,
            env=self.env,
            jupyter_token=self.jupyter_token,
            command=self.command,
            spot_price=price if self.type == "spot" else None,
            required_price=price if self.type == "on-demand" else None,
        )


def of(**given: Any) -> Wish:  # noqa: ANN401 - fields of `Wish` and `Filter`
    """A wish from its fields and those of its filter; None for `ports` is the default.

    Raises:
        InvalidInputError: it is invalid.
    """
    if given.get("ports") is None:
        given.pop("ports", None)
    return checked(Wish().but(**given))


def limits(lease_h: float | None, max_hours: float | None, max_cost_usd: float | None) -> Limits:
    """The limits of the order's end, from hours and USD.

    Raises:
        InvalidInputError: one is not a number above 0.
    """
    above_0(lease_h=lease_h, max_cost_usd=max_cost_usd, max_hours=max_hours)
    lease_s = None if lease_h is None else lease_h * 3600
    # No user saw a default, so only `clore reap` enforces it, and nothing that runs by itself.
    given = any(limit is not None for limit in (lease_h, max_hours, max_cost_usd))
    return Limits(
        lease_s,
        lease_h is not None,
        max_hours,
        max_cost_usd,
        default_s=None if given else DEFAULT_S,
        enforced="always" if given else "reap",
    )


def checked(wish: Wish) -> Wish:
    """The wish, if it is valid; checked before any request to the service.

    Raises:
        InvalidInputError: says what is invalid, and what to give instead.
    """
    wanted = wish.filter
    for name, value in (
        ("gpu_count", wanted.gpu_count),
        ("attempts", wish.attempts),
        ("boot_deadline", wish.boot_deadline_s),
        ("max_price_usd", wanted.max_price_usd),
        ("max_bid_usd", wish.max_bid_usd),
        ("spot_price", wish.spot_price),
    ):
        if value is not None and not 0 < value < float("inf"):
            _refuse(f"{name} must be a number above 0, not {value!r}")
    if wanted.min_reliability is not None and not 0 <= wanted.min_reliability <= 1:
        _refuse(f"min_reliability is a share from 0 to 1, not {wanted.min_reliability!r}")
    for country in wanted.countries:
        if not re.fullmatch(r"[A-Za-z]{2}", country):
            _refuse(f"country is an ISO code of two letters, such as SE, not {country!r}")
    if wanted.min_cuda is not None and not version(wanted.min_cuda):
        _refuse(f"cuda is a version such as 12.4, not {wanted.min_cuda!r}")
    if wish.verify not in VERIFIES or wish.sort not in SORTS:
        _refuse(f"verify is one of {', '.join(VERIFIES)}; sort one of {', '.join(SORTS)}")
    _verified(wish)
    _one_bid(wish)
    coin = "bitcoin" if wish.currency == AUTO else wish.currency
    wish.order(0, coin, 1.0)  # refuses what the service would
    return wish.but(countries=tuple(c.upper() for c in wanted.countries))


def _verified(wish: Wish) -> None:
    if wish.verify_command is not None and wish.verify == "none":
        _refuse('a check of your own goes with verify="ssh" or "gpu", not "none"')
    if wish.verify == "none":
        return
    if wish.ports.get("22") != "tcp":
        _refuse('a server is verified over SSH: give port 22 as tcp, or verify="none"')
    wait.within("boot_deadline", wish.boot_deadline_s, wish.limits.longest_s)


def _one_bid(wish: Wish) -> None:
    bids = {"spot_price": wish.spot_price, "max_bid_usd": wish.max_bid_usd}
    given = [name for name, bid in bids.items() if bid is not None]
    if wish.type == "on-demand" and given:
        _refuse(f'{given[0]} goes with type="spot"')
    if wish.type == "spot" and len(given) != 1:
        _refuse(
            'type="spot" needs spot_price, your bid in coin per day, or max_bid_usd, the most to '
            "bid in USD per hour; one of them"
        )
    if wish.spot_price is not None and wish.currency == AUTO:
        _refuse("spot_price is in one coin: name it with currency")


def _refuse(message: str) -> None:
    raise InvalidInputError(message + ".", 2)
