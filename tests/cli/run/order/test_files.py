"""`clore run` on an order: which files go to the machine, and which come back."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.cli.run.order.conftest import run, tree
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.driver import Renter


def test_ignored_files_are_not_uploaded(renter: Renter, order: int, folder: Path) -> None:
    """Nested .gitignore files and negations count, in a repository or not; so does .cloreignore."""
    tree(folder, {
        ".gitignore": "*.log\n/data/\n!keep.log\n",
        ".cloreignore": "/notes.txt\nsub/big\n",
        "a b.py": "", "x.log": "", "keep.log": "", "data/set.bin": "", "notes.txt": "",
        "sub/.gitignore": "*.tmp\n!one.tmp\n", "sub/one.tmp": "", "sub/two.tmp": "", "sub/big": "",
        "sub/deep/.cloreignore": "!big\n", "sub/deep/data/x": "", "é\n?": "",
    })  # fmt: skip
    (folder / "link").symlink_to("a b.py")
    expected = {
        "./.gitignore", "./.cloreignore", "./a b.py", "./keep.log", "./sub/.gitignore",
        "./sub/one.tmp", "./sub/deep/.cloreignore", "./sub/deep/data/x", "./é\n?", "./link",
    }  # fmt: skip
    listing = ("--", "find . ! -type d -print0 | sort -z")
    found = run(renter, order, folder, *listing).out
    assert set(found.split("\0")) - {""} == expected

    git = ("git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-f", ".", "x.log"], check=True)  # tracked, so it is uploaded
    subprocess.run([*git, "rm", "-q", "--cached", "a b.py"], check=True)  # untracked, and uploaded
    (folder / "keep.log").unlink()  # removed, which git has not recorded yet
    found = run(renter, order, folder, *listing).out
    assert set(found.split("\0")) - {""} == expected - {"./keep.log"} | {
        "./x.log",
        "./data/set.bin",
        "./sub/two.tmp",
    }


SECOND_NS = 1_700_000_000_000_000_000
"""A moment in nanoseconds: a machine compares files of equal size only by the second."""


def test_a_change_within_the_same_second_is_fetched(
    renter: Renter, order: int, folder: Path
) -> None:
    """A file of the same size is fetched again if it changes in the second of the last fetch."""
    script = (
        "mkdir o; printf 1 > o/x; touch -d @1700000000.1 o/x; until [ -e go ]; do sleep 0.1; done;"
        " printf 2 > o/x; touch -d @1700000000.9 o/x"
    )
    words = ("--folder", folder, "--output", "o", "--fetch-every", "0.1", "--", script)
    with renter.start("run", "--order", order, *words) as process:
        until((folder / "o" / "x").exists, "the first word", 60)
        renter("ssh", order, "--", "touch work/work_here/go")
        assert process.wait(60) == 0
    assert (folder / "o" / "x").read_text() == "2"


def test_a_second_run_uploads_only_changes(renter: Renter, order: int, folder: Path) -> None:
    """Unchanged files are not resent; what was removed here is removed there, and nothing else."""
    tree(folder, {"same": "1", "changed": "1", "gone/old": "1"})
    os.utime(folder / "changed", ns=(SECOND_NS, SECOND_NS))
    (folder / "big").write_bytes(os.urandom(3_000_000))
    stamp = "stat -c %i same big > .seen; touch made; ls"
    run(renter, order, folder, "--", stamp)
    tree(folder, {"changed": "2"})
    os.utime(folder / "changed", ns=(SECOND_NS + 9, SECOND_NS + 9))
    (folder / "gone" / "old").unlink()
    again = run(
        renter, order, folder, "--", "cat changed; stat -c %i same big | cmp - .seen; ls gone"
    )
    assert again.out == "2"  # The files are the same, down to the inode; `gone` is empty.
    assert run(renter, order, folder, "--", "ls made").out == "made\n"
    tree(folder, {"changed": "3"})
    assert run(renter, order, folder, "--no-upload", "--", "cat changed").out == "2"


def test_outputs_are_fetched_during_the_job_and_at_its_end(
    renter: Renter, order: int, folder: Path
) -> None:
    """`--output` is here before the job ends and complete at its end; it is not uploaded."""
    tree(folder, {"out dir/of before": "local"})
    script = (
        "ls 'out dir' 2> /dev/null; mkdir -p 'out dir/deep'; echo 1 > 'out dir/deep/one'; "
        "ln -s one 'out dir/deep/link'; echo 9 > log.txt; "
        "until [ -e go ]; do sleep 0.1; done; echo 2 > 'out dir/two'; exit 4"
    )
    process = renter.start(
        "run", "--order", order, "--folder", folder, "--output", "out dir", "--output",
        folder / "log.txt", "--output", "never/made", "--fetch-every", 0.3, "--", script,
    )  # fmt: skip
    until((folder / "out dir" / "deep" / "one").exists, "the first fetch", 40)
    assert process.poll() is None
    renter("ssh", order, "--", "touch 'work/work_here/go'")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4, err
    assert out == ""  # nothing of `out dir` was there before
    assert (folder / "out dir" / "two").read_text() == "2\n"
    assert (folder / "out dir" / "of before").read_text() == "local"
    assert str((folder / "out dir" / "deep" / "link").readlink()) == "one"
    assert (folder / "log.txt").read_text() == "9\n"
    assert "never/made does not exist on the machine; nothing was fetched." in err
