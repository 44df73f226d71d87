"""Most commands of the tests run inside the test process, which must change neither of the two."""

from __future__ import annotations

import logging
import os
import signal
import sys
from dataclasses import asdict

import pytest
from in_process import run

from clore_ai._api.waits import WAITS

from .driver import Clore, Renter, shared_forks


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (["--help"], ""),
        (["search", "--gpus", "3"], ""),
        (["wallets"], ""),
        (["config", "set", "api_key", "--json"], ""),
        (["config", "set", "api_key"], "a-key-from-stdin\n"),
        (["config", "show"], ""),
        (["search", "--json"], ""),
    ],
)
def test_output_equals_that_of_a_separate_process(
    new_user: Clore, words: list[str], stdin: str
) -> None:
    """Exit code, stdout and stderr are the same, to the letter."""
    inside = run(words, new_user.env, stdin)
    alone = shared_forks().run(["clore", *words], new_user.env, stdin, 60)
    assert (inside.returncode, inside.stdout, inside.stderr) == (
        alone.returncode, alone.stdout, alone.stderr,
    )  # fmt: skip


def test_the_test_process_is_unchanged(renter: Renter) -> None:
    """Environment, streams, signals, loggers and waits are as before a rental with --debug."""

    def state() -> tuple[object, ...]:
        log = logging.getLogger("clore_ai")
        handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        streams = sys.stdin, sys.stdout, sys.stderr
        return (
            dict(os.environ), sys.argv, streams, handlers, log.level, log.handlers[:],
            asdict(WAITS),
        )  # fmt: skip

    before = state()
    words = ["deploy", str(renter.server()), "--image", "i", "--type", "on-demand"]
    done = run([*words, "--currency", "bitcoin", "--debug"], renter.env, "")
    assert done.returncode == 0, done.stderr
    assert "create_order" in done.stderr
    assert state() == before
    renter("cancel", done.stdout.strip())
