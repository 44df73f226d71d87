"""The client of the command line: with the state folder's ledger, and what was left in it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from clore_ai.cli import _output, _recover

if TYPE_CHECKING:
    from collections.abc import Generator

    from clore_ai.client import CloreAI


@contextmanager
def connect(*, ask: bool = True) -> Generator[CloreAI]:
    """A client with the state folder's ledger; in the end, what the ledger could not keep is said.

    First, orders of commands that were stopped are told of; with `ask`, on a terminal, asked about.

    Raises:
        ConfigError: the config file can't be read, or the base URL is none.
    """
    from clore_ai.client import CloreAI  # noqa: PLC0415 - not for --help

    with CloreAI(state=True) as api:
        api.rate_limiter.alone = api.session.note_trouble
        try:
            _recover.recover(api, ask=ask)
            yield api
        finally:
            for sentence in api.session.trouble:
                _output.note(sentence)
