"""The client of the command line, with its ledger; reports what earlier commands left."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from clore_ai import _signals
from clore_ai.cli import output, recover
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Generator

    from clore_ai import CloreAI


@contextmanager
def connect(*, ask: bool = True, keeps: bool = True) -> Generator[CloreAI]:
    """A client with the state folder's ledger; at the end, reports what it could not record.

    First it reports orders of commands that were stopped; with `ask`, a terminal user is asked what
    to do with them. With `keeps`, a background process is left to end orders that have a limit.
    From here on every signal to end raises `KeyboardInterrupt`.

    Raises:
        ConfigError: the config file can't be read, or the base URL is not valid.
    """
    from clore_ai import CloreAI

    _signals.interrupt_by_any()
    unshared: list[str] = []  # reported only if no other message names the folder's problem
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


def now(api: CloreAI) -> float:
    """Unix seconds on the service's clock."""
    from clore_ai._api.steps import clock

    return api.drive(clock()).wall


def none(api: CloreAI, message: str) -> int:
    """Print `message` about an empty list of orders, if all of it was read; the exit code."""
    from clore_ai.rental.spend import unseen

    if not (api.session.unread or unseen.unlisted(api.session)):
        output.note(message)
    return status(api)


def status(api: CloreAI) -> int:
    """The exit code of a command that lists orders: 1 if some could not be read."""
    return 1 if api.session.unread else 0


def _warn(api: CloreAI, *, keeps: bool) -> None:
    """Warn of orders that may cost money unnoticed; start the keeper for limits without one."""
    from clore_ai._api.steps import clock
    from clore_ai.rental.spend import unseen

    for sentence in unseen.sentences(api.session, api.drive(clock())):
        output.note(sentence)
    with suppress(ConfigError):  # reported by the code that needed the ledger
        if keeps and api.ledger.begun() and (running := api.ledger.running()):
            from clore_ai.cli.supervise import keeper
            from clore_ai.rental.limits import expiry

            if expiry.leased(running):
                keeper.ensure_running(api)
