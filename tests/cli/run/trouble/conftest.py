"""`clore run` on an order, and ways to read what it prints."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Callable

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.driver import Renter

COUNT = 40
COUNTER = f"i=0; while [ $i -lt {COUNT} ]; do i=$((i+1)); echo line $i; sleep 0.1; done; exit 5"
ALL_LINES = "".join(f"line {i + 1}\n" for i in range(COUNT))
WAITING = "echo up; until [ -e go ]; do sleep 0.1; done; echo went; exit 5"


@pytest.fixture
def start(
    renter: Renter, order: int, folder: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `clore run` on the order, and ends any remaining process of it."""
    with contextlib.ExitStack() as stack:

        def begin(*words: object, at: int = order, **options: object) -> subprocess.Popen[str]:
            process = renter.start("run", "--order", at, "--folder", folder, *words, **options)
            stack.callback(process.__exit__, None, None, None)
            stack.callback(process.kill)
            return process

        yield begin


def read_rest(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The rest of both streams, read to their end."""
    assert process.stdout is not None
    assert process.stderr is not None
    err: list[str] = []
    reader = threading.Thread(target=lambda: err.append(process.stderr.read()))  # type: ignore[union-attr]
    reader.start()
    out = process.stdout.read()
    reader.join()
    process.wait(60)
    return out, err[0]


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def go(renter: Renter, order: int) -> None:
    renter("ssh", order, "--", "touch work/w/go")
