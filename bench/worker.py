"""A script of `bench/workers`, run by one environment's interpreter: a line in, JSON out."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from bench.environment import Place

WORKERS = Path(__file__).with_name("workers")


class Worker:
    """A script that answers each line it is given."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, line: object) -> Any:  # noqa: ANN401 - JSON
        """The answer to a line.

        Raises:
            RuntimeError: it failed, and says why; or it has ended, and stderr says why.
        """
        self.tell(line)
        return self.said()

    def tell(self, line: object) -> None:
        """Hand it a line that it does not answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def said(self) -> Any:  # noqa: ANN401 - JSON
        """What it says next; raises as `ask` does."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args!r} ended before it answered")
        value = json.loads(answer)
        if isinstance(value, dict) and "failed" in value:
            raise RuntimeError(value["failed"])
        return value


@contextlib.contextmanager
def worker(
    place: Place, script: str, env: Mapping[str, str], *arguments: object
) -> Generator[Worker]:
    """A running worker; it ends with the block, when its input does."""
    words = [str(place.python), str(WORKERS / f"{script}.py"), *map(str, arguments)]
    with subprocess.Popen(
        words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Worker(process)
