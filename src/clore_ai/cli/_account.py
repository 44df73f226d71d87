"""The client of the command line: always with the state folder's ledger."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from clore_ai.cli import _output

if TYPE_CHECKING:
    from collections.abc import Generator

    from clore_ai.client import CloreAI


@contextmanager
def connect() -> Generator[CloreAI]:
    """A client with the state folder's ledger; in the end, what the ledger could not keep is said.

    Raises:
        ConfigError: the config file can't be read, or the base URL is none.
    """
    from clore_ai.client import CloreAI  # noqa: PLC0415 - not for --help

    with CloreAI(state=True) as api:
        api.rate_limiter.alone = api.session.note_trouble
        try:
            yield api
        finally:
            for sentence in api.session.trouble:
                _output.note(sentence)
