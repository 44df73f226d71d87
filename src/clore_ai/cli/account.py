"""The client of the command line, with its ledger; and reports of what earlier commands left."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from clore_ai import _signals
from clore_ai.cli import output, recover

if TYPE_CHECKING:
    from collections.abc import Generator

    from clore_ai.client import CloreAI


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
    from clore_ai.rental.spend import unseen

    if not (api.session.unread or unseen.unlisted(api.session)):
        output.note(said)
    return status(api)


def status(api: CloreAI) -> int:
    """The exit code of a command that lists orders: 1 if some could not be read."""
    return 1 if api.session.unread else 0


def _warn(api: CloreAI, *, keeps: bool) -> None:
    """One line each of what may cost money unseen; and have limits kept that nobody keeps."""
    from clore_ai._api.steps import clock
    from clore_ai.exceptions import ConfigError
    from clore_ai.rental.limits import expiry
    from clore_ai.rental.spend import unseen

    for sentence in unseen.sentences(api.session, api.drive(clock())):
        output.note(sentence)
    with suppress(ConfigError):  # said by whatever needed the ledger
        if keeps and api.ledger.begun() and expiry.leased(api.ledger.running()):
            from clore_ai.cli.supervise import keeper

            keeper.see_to(api)
