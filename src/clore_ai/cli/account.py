"""The client of the command line, with its ledger; and reports of what earlier commands left."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from clore_ai import _signals
from clore_ai._values.lengths import duration
from clore_ai.cli import output, recover

if TYPE_CHECKING:
    from collections.abc import Generator

    from clore_ai.client import CloreAI

_CLOCK_OFF_S = 300.0


@contextmanager
def connect(*, ask: bool = True, keeps: bool = True) -> Generator[CloreAI]:
    """A client with the state folder's ledger; in the end, what the ledger could not keep is said.

    First, orders of commands that were stopped are told of; with `ask`, on a terminal, asked about.
    With `keeps`, orders that have a limit are left to a process in the background, at last.
    From here on each signal that asks to end is a `KeyboardInterrupt`.

    Raises:
        ConfigError: the config file can't be read, or the base URL is none.
    """
    from clore_ai.client import CloreAI
    from clore_ai.exceptions import ConfigError

    _signals.interrupt_by_any()
    unshared: list[str] = []  # said where nothing else says what is wrong with the folder
    with CloreAI(state=True) as api:
        api.rate_limiter.alone = unshared.append
        try:
            recover.recover(api, ask=ask)
            yield api
        except ConfigError:
            unshared.clear()
            raise
        finally:
            for sentence in (*api.session.ended.values(), *(api.session.trouble or unshared[:1])):
                output.note(sentence)
            _warn(api, keeps=keeps)


def none(api: CloreAI, said: str) -> int:
    """Say that the list of orders holds none, if it was read whole; the exit code."""
    from clore_ai.exceptions import ConfigError

    unlisted: list[int] = []
    with suppress(ConfigError):  # said already
        running = api.ledger.running() if api.ledger.begun() else []
        unlisted = api.session.listings.unlisted(i.order_id or 0 for i in running)
    if not (api.session.unread or unlisted):
        output.note(said)
    return status(api)


def status(api: CloreAI) -> int:
    """The exit code of a command that lists orders: 1 if some could not be read."""
    return 1 if api.session.unread else 0


def _warn(api: CloreAI, *, keeps: bool) -> None:
    """One line each of what may cost money unseen; nothing is asked of the service for it."""
    from clore_ai._api.steps import clock
    from clore_ai.exceptions import ConfigError
    from clore_ai.rental.limits import expiry
    from clore_ai.rental.spend import warnings

    now = api.drive(clock())
    if abs(now.ahead_s) > _CLOCK_OFF_S:
        off = f"{duration(abs(now.ahead_s))} {'behind' if now.ahead_s > 0 else 'ahead of'}"
        output.note(
            f"This machine's clock is {off} the service's clock, which decides when leases end; "
            "correct it."
        )
    if api.api_key is None or not api.ledger.begun():
        return
    try:
        running, balances = api.ledger.running(), api.ledger.balances()
    except ConfigError:
        return  # said already, by whatever needed the ledger
    # A look from before it was made says nothing of an order.
    known = {i.order_id or 0 for i in running} - api.session.made
    unlisted = api.session.listings.unlisted(known)
    if unlisted:
        output.note(
            f"The service does not list order {', '.join(map(str, unlisted))} now, but the ledger "
            "has it as running, so it may be billed. Check again in half a minute: clore orders"
        )
    latest = {b.coin: (b.at, b.balance) for b in balances}
    for line in (
        warnings.of_leases(running, now.wall),
        warnings.of_endless([i for i in running if i.order_id not in api.session.made]),
        warnings.of_wallets(running, latest, now.wall),
    ):
        if line is not None:
            output.note(line)
    if keeps and expiry.leased(running):
        from clore_ai.cli.supervise import keeper

        keeper.see_to(api)
