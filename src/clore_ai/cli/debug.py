"""``--debug`` and ``--curl``, also as ``CLORE_DEBUG=1`` and ``CLORE_CURL=1``.

Both write the SDK's log records to stderr, with secrets masked. The secrets that the user typed or
set are collected here, so that errors and tracebacks that quote them can be scrubbed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cache
from typing import TYPE_CHECKING

import click

from clore_ai._values.secrets import is_secret, scrub, texts
from clore_ai._values.text import plain
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    import logging

_OFF = ("", "0")
_NAMES_FILES = "--send-secret"
"""Its value is a file's name, which errors must show."""
_LONGEST = 100_000
"""Characters of a line; a line of ``--curl`` must not be cut."""


@cache
def _handler() -> logging.Handler:
    """Writes to the current stderr. A closed pipe must not stop a rental halfway."""
    import logging

    class Stderr(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with contextlib.suppress(OSError, ValueError):
                click.echo(plain(self.format(record), _LONGEST, lines=True), err=True)

    return Stderr()


def wanted(name: str) -> bool:
    """Is ``debug`` or ``curl`` on?"""
    return os.environ.get(f"CLORE_{name.upper()}", "") not in _OFF


def start() -> None:
    """Show the SDK's log records as requested, and warnings always."""
    import logging  # slow to import, and help needs none

    for logger, name in (("clore_ai", "debug"), ("clore_ai.curl", "curl")):
        logging.getLogger(logger).setLevel(logging.DEBUG if wanted(name) else logging.WARNING)
    logging.getLogger("clore_ai").addHandler(_handler())


def clean(text: str) -> str:
    """`text` without the secrets in the command line, environment and config file."""
    return scrub(text, _typed(sys.argv[1:]) | _kept())


def _typed(words: list[str]) -> set[str]:
    """The values of options, and of ``config set``, that take secrets."""
    from clore_ai.config import SECRETS

    found: set[str] = set()
    for word, following in zip(words, [*words[1:], ""]):
        option, equals, value = word.partition("=")
        if option == _NAMES_FILES or not (word.startswith("-") or word in SECRETS):
            continue  # a file's name is no secret
        if is_secret(option.lstrip("-").replace("-", "_")):
            value = value if equals else following
            found |= {value, value.partition("=")[2]} if option == "--env" else {value}
    return found


def _kept() -> set[str]:
    from clore_ai.config import load

    found = {v for n, v in os.environ.items() if n.startswith("CLORE_") and is_secret(n.lower())}
    with contextlib.suppress(ConfigError):
        found |= texts(load())
    return found
