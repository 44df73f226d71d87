"""`clore run` with a full disk or without a program, here or on the machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import pytest
from tests.cli.run.trouble.conftest import read_rest
from waiting import until

if TYPE_CHECKING:
    from tests.cli.driver import Renter


def mount(folder: Path, size: str) -> None:
    """Mount a disk of this size on the folder; the test is skipped if that is not possible."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")


def test_a_full_disk_here(
    renter: Renter, order: int, folder: Path, start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Outputs that do not fit keep the machine; a bold message says so, and attach tries again."""
    small = tmp_path / "small"
    small.mkdir()
    mount(small, "1m")
    try:
        (folder / "o").symlink_to(small)
        process = renter.start(
            "run", "--order", order, "--folder", small, "--cancel", "--output", "o", "--",
            "mkdir o; head -c 3000000 /dev/urandom > o/big; exit 5",
        )  # fmt: skip
        with process:
            _, err = read_rest(process)
        assert process.returncode == 1
        assert "is full" in err
        assert "clore attach 1" in err
        assert [row["id"] for row in renter("orders", "--json").data] == [order]
        subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
        renter("attach", 1, fails=5)
        assert (small / "o" / "big").stat().st_size == 3_000_000
        assert renter("orders", "--json").data == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_output_that_cannot_be_written(renter: Renter, order: int, folder: Path) -> None:
    """A full disk behind stdout is reported once; the job goes on, and its output is kept."""
    script = "echo one; sleep 1; echo two; exit 5"
    with Path("/dev/full").open("wb") as full:
        process = renter.start(
            "run", "--order", order, "--folder", folder, "--", script,
            stdout=full,
        )  # fmt: skip
        with process:
            assert process.stderr is not None
            err = process.stderr.read()
    assert process.returncode == 5
    assert "can't be written here (No space left on device)" in err
    assert renter("logs", 1).out == "one\ntwo\n"


def test_a_full_disk_on_the_machine(
    renter: Renter, order: int, folder: Path, tmp_path: Path
) -> None:
    """An upload that does not fit is exit 1. A job that fills the disk ends with its own code."""
    home = Path(renter("ssh", order, "--", "pwd").out.strip())
    small = home / "work"
    small.mkdir()
    mount(small, "1m")
    jobs = home / ".clore"
    jobs.mkdir()
    mount(jobs, "64k")
    try:
        big = folder / "big"
        big.write_bytes(os.urandom(3_000_000))
        words = ("run", "--order", order, "--folder", folder)
        assert "machine's disk is full" in renter(*words, "--", "true", fails=1).err
        big.unlink()
        done = renter(*words, "--", "head -c 1000000 /dev/zero; echo $? >&2; exit 5", fails=5)
        assert done.out.startswith("\0" * 10_000)
    finally:
        subprocess.run(["umount", str(small)], check=True)
        subprocess.run(["umount", str(jobs)], check=True)


def without(tmp_path: Path, *names: str) -> str:
    """A PATH with every usual program except these."""
    kept = tmp_path / f"without-{'-'.join(names)}"
    kept.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*") if Path(place).is_dir() else ():
            if program.name not in names and not (kept / program.name).exists():
                (kept / program.name).symlink_to(program)
    return str(kept)


def test_missing_programs_here(renter: Renter, order: int, folder: Path, tmp_path: Path) -> None:
    """Without ssh the error names the package; no other program is needed here."""
    no_ssh = without(tmp_path, "ssh")
    words = ("run", "--order", order, "--folder", folder, "--output", "o d")
    assert (
        "apt-get install openssh-client" in renter(*words, "--", "true", fails=2, PATH=no_ssh).err
    )
    bare = without(tmp_path, "rsync", "scp", "tar", "sftp")
    (folder / "a b").write_text("1")
    (folder / "same").write_text("1")
    script = (
        "cat 'a b'; mkdir -p 'o d/e'; echo 2 > 'o d/e/f'; "
        "stat -c %i same >> seen; uniq seen | wc -l"
    )
    done = renter(*words, "--", script, PATH=bare)
    assert done.out == "11\n"
    assert (folder / "o d" / "e" / "f").read_text() == "2\n"
    (folder / "a b").write_text("22")
    assert renter(*words, "--", script, PATH=bare).out == "221\n"
    (folder / "a b").unlink()
    (folder / "same").unlink()
    assert renter(*words, "--", "ls -a", PATH=bare).out == ".\n..\no d\nseen\n"


def test_a_machine_without_rsync_and_tmux(renter: Renter, folder: Path, tmp_path: Path) -> None:
    """A bare image needs only tar and setsid; without setsid, nohup is used."""
    (folder / "x").write_text("1\n")
    words = ("run", "--folder", folder, "--output", "o", "--order")
    order = renter.rent("--env", f"PATH={without(tmp_path, 'rsync', 'tmux')}")
    script = "command -v rsync tmux; cat x; mkdir o; echo 2 > o/y; exit 5"
    assert renter(*words, order, "--", script, fails=5).out == "1\n"
    assert (folder / "o" / "y").read_text() == "2\n"
    order = renter.rent("--env", f"PATH={without(tmp_path, 'rsync', 'tmux', 'setsid')}")
    renter(*words, order, "--detach", "--", "echo up; sleep 600")
    until(lambda: "up" in renter("logs", 2).out)
    renter("stop", 2)
    assert renter("jobs", "--json").data[-1]["exit"] == 143
