"""Most commands of the tests run inside their process: it must make no difference to either."""

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
def test_it_says_what_a_process_of_its_own_says(
    new_user: Clore, words: list[str], stdin: str
) -> None:
    """Exit code, stdout and stderr, to the letter."""
    inside = run(words, new_user.env, stdin)
    alone = shared_forks().run(["clore", *words], new_user.env, stdin, 60)
    assert (inside.returncode, inside.stdout, inside.stderr) == (
        alone.returncode, alone.stdout, alone.stderr,
    )  # fmt: skip


def test_the_process_is_as_it_was(renter: Renter) -> None:
    """Environment, streams, arguments, signals, loggers and waits, after a rental with --debug."""

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
