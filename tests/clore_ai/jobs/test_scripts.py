"""The scripts for the machine, run in a local shell: a stop may overtake a start."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from waiting import until

from clore_ai.jobs import scripts

if TYPE_CHECKING:
    from pathlib import Path

LINE = "touch ran; sleep 600\n"


@pytest.fixture
def shell(tmp_path: Path) -> list[str]:
    """Runs a script given on stdin, with the test's folder as home and without tmux."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "bash", "cat", "mkdir", "rmdir", "rm", "mv", "sleep", "dirname", "touch",
                 "setsid", "wc", "tail", "head", "kill"):  # fmt: skip
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    return ["env", "-i", f"HOME={tmp_path}", f"PATH={programs}", "sh", "-s"]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder in which the job runs."""
    folder = tmp_path / "work" / "w"
    folder.mkdir(parents=True)
    return folder


def begin(shell: list[str], script: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(shell, text=True, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(script)
    process.stdin.close()
    process.stdin = None
    return process


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for its success, and return its stderr."""
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return err


def start() -> str:
    return scripts.start("1-a", "work/w", LINE, {"SECRET": "s"})


def outcome(shell: list[str]) -> scripts.Word | None:
    return scripts.word(ended(begin(shell, scripts.follow("1-a", 0))).encode())


STOPPED = scripts.Word("ended", scripts.STOPPED, 0)


def test_a_running_job_is_stopped(shell: list[str], work: Path) -> None:
    ended(begin(shell, start()))
    until((work / "ran").exists, "the job")
    ended(begin(shell, scripts.stop("1-a")))
    assert outcome(shell) == STOPPED


def test_a_stopped_job_that_has_not_started_never_starts(shell: list[str], work: Path) -> None:
    """Its start is under way, and arrives after the stop."""
    ended(begin(shell, scripts.stop("1-a")))
    ended(begin(shell, start()))
    assert outcome(shell) == STOPPED
    assert not (work / "ran").exists()
    assert list(work.parents[1].rglob("env")) == []


def test_a_stop_during_a_start_prevents_the_job(
    shell: list[str], work: Path, tmp_path: Path
) -> None:
    """Its runner is about to start, by a slow tmux."""
    tmux = tmp_path / "bin" / "tmux"
    tmux.write_text("#!/bin/sh\nexit 0\n")
    tmux.chmod(0o700)
    starting = begin(shell, start())
    job = tmp_path / ".clore" / "jobs" / "1-a"
    until((job / "out").exists, "the start")
    stopping = begin(shell, scripts.stop("1-a"))
    until((job / "stop").exists, "the stop")
    subprocess.run(
        ["sh", str(job / "runner")], env={**os.environ, "HOME": str(tmp_path)}, timeout=30
    )
    ended(stopping)
    ended(starting)
    assert outcome(shell) == STOPPED
    assert not (work / "ran").exists()
    assert not (job / "env").exists()


@pytest.mark.parametrize(
    "line",
    ["clore: ended ² 5", "clore: ended 1 ²", f"clore: ended {'9' * 9000} 5", "clore: ended 5",
     f"clore: ended 1 {'9' * 9000}", "clore: ended -1 5", "clore: ended 256 5", "clore: done 5",
     "clore: ended 1 5 7", "xclore: ended 1 5", "clore:", "", "clore: ended\x001 5"],
)  # fmt: skip
def test_an_invalid_word_of_the_follower_is_ignored(line: str) -> None:
    """The machine's owner may write anything in its place; nothing of that ends the job."""
    assert scripts.word(line.encode()) is None


def test_the_words_of_the_follower() -> None:
    assert scripts.word(b"clore: alive") == scripts.Word("alive")
    assert scripts.word(b"clore: ended 143 20") == scripts.Word("ended", 143, 20)
    assert scripts.word(b"clore: runs 7\r") == scripts.Word("runs", None, 7)
    assert scripts.word(b"clore: died 0") == scripts.Word("died", None, 0)
