"""Whatever a machine sends as its GPU feed, the amount is bounded and the text is safe to print."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clore_ai._gpu_feeds import Feeds
from clore_ai._ssh.order_keys import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FLOODS = {
    "readings": "exec yes '0, 1, 2, 3, 4\n'",
    "cards": "exec yes '0, 1, 2, 3, 4'",
    "one line": "exec tr '\\0' 9 </dev/zero",
    "errors": "yes '\033]52;c;eA==\007 no \233' | head -c 200000; exit 7",
}


@pytest.fixture
def feeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Feeds]]:
    """Feeds from a machine on which `ssh` runs this script."""
    made = Feeds(1.0)

    def follow(script: str) -> Feeds:
        program = tmp_path / "ssh"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        made.follow(7, [Target(7, "127.0.0.1", 9)])
        return made

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    yield follow
    made.close()


@pytest.mark.parametrize("flood", FLOODS)
def test_an_endless_feed_is_bounded(feeds: Callable[[str], Feeds], flood: str) -> None:
    """Readings keep their rhythm, and nothing accumulates here."""
    following = feeds(FLOODS[flood])
    until = time.monotonic() + 1.0
    reports = []
    while time.monotonic() < until:
        reports += following.reports(0.2)
    assert len(reports) <= 8
    assert all(len(report.gpus) <= 64 for report in reports)
    assert all(report.why.isprintable() and len(report.why) <= 200 for report in reports)
    peak = Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]
    assert int(peak) < 1_000_000  # KB; "one line" is read in one piece
