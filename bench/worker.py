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
            RuntimeError: the worker reported a failure, or has ended; then stderr has the reason.
        """
        self.send(line)
        return self.answer()

    def send(self, line: object) -> None:
        """Send a line without reading an answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def answer(self) -> Any:  # noqa: ANN401 - JSON
        """The next answer; raises as `ask` does."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended before it answered")
        value = json.loads(line)
        if isinstance(value, dict) and "failed" in value:
            raise RuntimeError(value["failed"])
        return value


@contextlib.contextmanager
def worker(
    place: Place, script: str, env: Mapping[str, str], *arguments: object
) -> Generator[Worker]:
    """A running worker; it ends with the block, which closes its input."""
    words = [str(place.python), str(WORKERS / f"{script}.py"), *map(str, arguments)]
    with subprocess.Popen(
        words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Worker(process)
