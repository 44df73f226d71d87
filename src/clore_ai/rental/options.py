"""The options of `client.rent` and `client.spot_auto`, defined once for both clients. Pure.

The options are typed dictionaries, so that type checkers check callers. `documented` adds their
meaning to the docstring of a method that takes them, so that `help` shows it.
"""

from __future__ import annotations

from inspect import cleandoc
from typing import TYPE_CHECKING, Any, Callable, TypedDict, TypeVar

from clore_ai._values.secrets import hide
from clore_ai.rental import rent, spot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clore_ai.models import OrderType
    from clore_ai.rental.rent.wish import Sort, Verify, Wish
    from clore_ai.rental.spot.fallback import Fallback
    from clore_ai.rental.spot.run import SpotEvent, SpotRun

F = TypeVar("F", bound=Callable[..., Any])

_NAMES = {
    "gpus": "gpu_count", "cuda": "min_cuda", "boot_deadline": "boot_deadline_s",
    "country": "countries",
}  # fmt: skip
"""Options whose names differ in `Wish` and its filter."""
_SECRETS = ("env", "jupyter_token", "command", "ssh_key")


class RentOptions(TypedDict, total=False):
    """What to rent, how to pay for it, and how to verify it.

    gpus: exactly this number of GPUs; any number by default.
    min_vram_gb: GB of one GPU; slightly less than the nominal size is accepted.
    min_ram_gb: memory in GB.
    min_disk_gb: disk in GB.
    min_down_mbps: download speed in Mbit/s, as the service measured it.
    min_reliability: 0-1.
    country: a two-letter ISO code, or several alternatives.
    cuda: the lowest CUDA version that the host's driver must support, e.g. ``"12.4"``.
    max_price_usd: USD per **hour** for the whole server, without the renter's fee.
    type: ``"on-demand"``, the default, or ``"spot"``.
    spot_price: the bid, in `currency` per **day** for the whole server; it needs a `currency`.
    max_bid_usd: with ``"spot"``, instead of `spot_price`: the most to bid, in USD per **hour**
        without the fee. The order is rented at the lowest winning bid and held there while it
        boots. After that, `spot_auto` holds it.
    currency: a coin by the service's name, or ``"auto"``, the default: the cheapest that the
        server allows and the wallet covers (the creation fee and the first hour).
    sort: what makes an offer the best: ``"price"``, the default, ``"reliability"``,
        ``"gpu"``, ``"ram"``, ``"down"``.
    image: Docker image; the service does not check that it exists.
    ports: port 22 by default; one http port at most.
    env: values up to 1,536 characters, without ``&``.
    ssh_key: a public key's text; by default the state folder's own key, created once.
    identity: the private key's file for `ssh_key`; by default ssh's own settings decide.
    jupyter_token: up to 32 characters.
    command: run at start-up.
    verify: when the machine counts as rented. ``"none"``: once the order exists; ``"ssh"``: once
        SSH logs in; ``"gpu"``, the default: once nvidia-smi shows the promised GPUs, and disk and
        network work, too.
    verify_command: a shell line of your own that must also end with 0 on the machine.
    attempts: how many servers to try until one is good; 3 by default.
    boot_deadline: seconds that each may take; 480 by default, or the lease if it is shorter.
    lease_h: hours after which the order is cancelled. Without it, and without the limits below, the
        order runs until you cancel it; with `state`, a ``clore reap`` ends it after 24 hours.
    max_hours: the upper limit of the lease.
    max_cost_usd: the most that it may cost in USD, fees and failed attempts included; at this limit
        the order is cancelled.
    client_ref: your name for this rental; a second rental with it returns the same order.
    purpose: what the order is for; the ledger keeps it.
    """

    gpus: int | None
    min_vram_gb: float | None
    min_ram_gb: float | None
    min_disk_gb: float | None
    min_down_mbps: float | None
    min_reliability: float | None
    country: str | Sequence[str]
    cuda: str | None
    max_price_usd: float | None
    type: OrderType
    spot_price: float | None
    max_bid_usd: float | None
    currency: str
    sort: Sort
    image: str
    ports: dict[str, str] | None
    env: dict[str, str] | None
    ssh_key: str | None
    identity: Path | None
    jupyter_token: str | None
    command: str | None
    verify: Verify
    verify_command: str | None
    attempts: int
    boot_deadline: float | None
    lease_h: float | None
    max_hours: float | None
    max_cost_usd: float | None
    client_ref: str | None
    purpose: str | None


class SpotOptions(TypedDict, total=False):
    """How to steer a spot order. One of the two limits is required.

    max_usd_per_hour: the limit, in USD per **hour** for the whole server, without fees.
    max_per_day: or the limit in the order's coin per **day**.
    every_s: seconds between looks, 20 by default; a look is one request.
    for_s: seconds after which it returns; by default it returns when the order ends.
    headroom: how far to stay above the highest rival, as a share (0.05 is 5 %): the bid costs more,
        and is outbid less often.
    fallback: what to rent instead if the order has not run for a while.
    on_event: called with each event, in this thread.
    stop: called once a second; if it returns true, the steering ends.
    """

    max_usd_per_hour: float | None
    max_per_day: float | None
    every_s: float
    for_s: float | None
    headroom: float
    fallback: Fallback | None
    on_event: Callable[[SpotEvent], object] | None
    stop: Callable[[], bool] | None


def documented(options: type) -> Callable[[F], F]:
    """Adds the meaning of `options` to a method's docstring."""

    def add(method: F) -> F:
        if method.__doc__:  # `python -OO` strips docstrings
            meaning = cleandoc(options.__doc__ or "").replace("\n", "\n    ")
            method.__doc__ = f"{cleandoc(method.__doc__)}\n\nOptions:\n    {meaning}"
        return method

    return add


def wished(gpu: str | Sequence[str] | None, given: RentOptions) -> Wish:
    """The wish for these options; secrets in `given` are masked in place, for the tracebacks.

    Raises:
        InvalidInputError: it makes no sense.
        TypeError: there is no such option.
    """
    _known("rent", RentOptions, given)
    words: dict[str, Any] = given  # type: ignore[assignment] # read by name from here on
    for name in _SECRETS:
        words[name] = hide(words.get(name))
    rest = dict(words)
    limits = [rest.pop(name, None) for name in ("lease_h", "max_hours", "max_cost_usd")]
    country = rest.get("country", ())
    rest["country"] = (country,) if isinstance(country, str) else tuple(country)
    named = {_NAMES.get(name, name): value for name, value in rest.items()}
    if gpu is not None and not isinstance(gpu, str):
        gpu = tuple(gpu)
    return rent.wish.of(gpu=gpu, limits=rent.wish.limits(*limits), **named)


def steered(order_id: int, given: SpotOptions) -> SpotRun:
    """The settings of a spot order to steer.

    Raises:
        InvalidInputError: an argument is out of range.
        TypeError: there is no such option.
    """
    _known("spot_auto", SpotOptions, given)
    words: dict[str, Any] = dict(given)
    on_event, stop = words.pop("on_event", None), words.pop("stop", None)
    made = spot.run.SpotRun(order_id, spot.run.SpotSettings(**words))
    made.on_event, made.stop = on_event or made.on_event, stop or made.stop
    return made


def _known(method: str, options: type, given: object) -> None:
    """Check the names as Python does for keyword arguments."""
    names: Any = given
    for name in names:
        if name not in options.__annotations__:
            raise TypeError(f"{method}() got an unexpected keyword argument {name!r}")
