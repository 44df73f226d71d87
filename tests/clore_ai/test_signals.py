"""Ctrl-C while Python imports is delayed until the import ends, and is not lost."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SLOW = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
for _ in range(100_000):
    pass
print("imported", flush=True)
"""
_COMMAND = """
import time
from clore_ai import _signals as signals
signals.{begin}()
import slow
try:
    time.sleep(20)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_does_not_interrupt_an_import(tmp_path: Path) -> None:
    """An exception there may be swallowed, and the import lock would then block other threads."""
    (tmp_path / "slow.py").write_text(_SLOW)
    for begin in ("wait_for_imports", "interrupt_by_any"):
        done = subprocess.run(
            [sys.executable, "-c", _COMMAND.format(begin=begin)],
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert (done.stdout, done.returncode) == ("imported\ninterrupted\n", 0), done.stderr


def test_an_ignored_ctrl_c_stays_ignored(tmp_path: Path) -> None:
    """A script that starts a command in the background lets it ignore Ctrl-C."""
    (tmp_path / "slow.py").write_text(_SLOW)
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    command = _COMMAND.format(begin="wait_for_imports").replace("sleep(20)", "sleep(0.1)")
    done = subprocess.run(
        [sys.executable, "-c", ignored + command],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "imported\n"
