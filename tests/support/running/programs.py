"""Short Python programs that use the SDK, each in a fork of one process that has imported it."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

from forks import Fork, Forks

if TYPE_CHECKING:
    from collections.abc import Mapping

_IMPORTED = ("clore_ai.client", "anyio._backends._asyncio", "httpcore", "clore_ai._io.http:tls")


def start(code: str, *words: object, env: Mapping[str, str] | None = None, **options: Any) -> Fork:
    """Like `Popen` of ``python -c CODE WORDS...`` with its output as text; no child of ours.

    An uncaught Ctrl-C ends it with exit code 1. For warnings at import, options of Python and
    zombies, start a real process.
    """
    given = {"stdout": PIPE, "text": True, **options}
    return Fork(
        _forks(), [code, *map(str, words)], env=dict(os.environ if env is None else env), **given
    )


@lru_cache(maxsize=1)
def _forks() -> Forks:
    return Forks("programs:main", _IMPORTED)


def main() -> None:
    """Run the first word of the command line, as ``python -c`` does."""
    code, sys.argv[0] = sys.argv[0], "-c"
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
