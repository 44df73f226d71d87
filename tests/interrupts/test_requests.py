"""Ctrl-C during a request: it ends a wait at once, and the next request does not hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from clore_ai import CloreAI
from clore_sandbox import Sandbox

LOCKS = 5
"""The least number of locks that a call and a close take."""


def test_a_lock_just_taken_is_released() -> None:
    """`__enter__` methods in Python take the locks: closing the client would wait for ever."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.interrupts.locks"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= LOCKS


def test_waiting_for_an_answer_is_interrupted_at_once() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Sandbox(provision=False) as market:
            market.fault("wallets", "late", delay_s=60)

            def press() -> None:
                while not market.journal("wallets"):
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGINT)

            with CloreAI(market.api_key, base_url=market.base_url) as client:
                presser = threading.Thread(target=press)
                presser.start()
                began = time.monotonic()
                with pytest.raises(KeyboardInterrupt):
                    client.wallets()
                assert time.monotonic() - began < 30
                presser.join()
                assert client.wallets()
    finally:
        signal.signal(signal.SIGINT, before)
