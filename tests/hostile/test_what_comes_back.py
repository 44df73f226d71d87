"""Outputs that a machine's owner made with its own programs, and what becomes of them here."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from waiting import until

from hostile import honest

from .stage import ONE_OUTPUT

if TYPE_CHECKING:
    from clients import Renting

    from hostile import Machine
    from tests.cli.driver import Renter

    from .stage import Stage

RUNS_HERE = re.compile(r"\x1b|[\x80-\x9f\u202e]")
OWNED = """
mkdir -p results/d results/.git/hooks results/sub/.GIT results/set
echo 1 > results/new
ln -s ../../../victim results/above; ln -s /etc/passwd results/absolute
ln -s {base}/victim results/victim; ln -s ../train.py results/beside; ln -s . results/loop
ln -s d/../../.. results/d/chain; ln results/new results/twin; mkfifo results/fifo
echo x > results/.git/hooks/post-checkout; echo x > results/.git/config; echo x > results/sub/.GIT/y
echo x > results/set/uid; chmod 4777 results/set/uid; echo x > results/set/gid
chmod 2777 results/set/gid; chmod 3777 results/set; chmod 666 results/new
echo x > "results/$(printf '\\033]52;c;b3duZWQ=\\007')"
"""
AS_ROOT = "mknod results/null c 1 3; mknod results/disk b 8 0; chown -R 12345:12345 results\n"


def test_unsafe_outputs_stay_there(stage: Stage, renter: Renter, either: Machine) -> None:
    """Devices, FIFOs, links to outside, repositories, setuid, open modes, another user's files.

    The honest outputs among them arrive; the messages on the rest hold no escape sequence.
    """
    order = renter.rent("--image", either.image)
    script = OWNED.format(base=stage.base) + (AS_ROOT if os.geteuid() == 0 else "")
    done = stage.renter.start(
        "run", "--order", order, "--folder", stage.folder, "--output", "results", "--",
        f"{script}exit 0",
    )  # fmt: skip
    out, err = done.communicate(timeout=60)
    renter.check(out + err)
    stage.check_outside()
    stage.check_output()
    assert (stage.results / "new").read_text() == "1\n"
    assert (stage.results / "twin").read_text() == "1\n"
    assert done.returncode in (0, 1), err
    assert not RUNS_HERE.search(err)


def test_get_leaves_unsafe_files_there(stage: Stage, machine: Machine, rental: Renting) -> None:
    """The same for `rental.get`."""
    from clore_ai.exceptions import CloreAPIError

    script = OWNED.format(base=stage.base) + (AS_ROOT if os.geteuid() == 0 else "")
    rental.exec(script)
    try:
        rental.get("results", stage.results)
    except CloreAPIError as exc:
        assert not RUNS_HERE.search(str(exc))  # noqa: PT017 - any clean end will do
    stage.check_outside()
    stage.check_output()
    assert (stage.results / "new").read_text() == "1\n"


def test_an_output_that_is_a_link_there(stage: Stage, renter: Renter, either: Machine) -> None:
    """It does not become a link here, so that no later fetch goes through it."""
    order = renter.rent("--image", either.image)
    stage.results.joinpath("kept").unlink()
    stage.results.rmdir()
    for script in (
        f"ln -s {stage.base}/victim results",
        "rm results; mkdir results; echo owned > results/secret",
    ):
        done = stage.began(order, "--no-upload" if "rm" in script else "--yes", "--", script)
        out, err = done.communicate(timeout=60)
        renter.check(out + err)
        stage.check_outside()
        assert not stage.results.is_symlink()


def test_a_link_first_and_a_file_through_it_later(
    stage: Stage, renter: Renter, either: Machine
) -> None:
    """In two fetches of one run, the first cannot lead the second one outside."""
    order = renter.rent("--image", either.image)
    script = (
        f"mkdir -p results; ln -s {stage.base}/victim results/l; ln -s ../train.py results/t; "
        "echo 1 > results/new; until [ -e go ]; do sleep 0.05; done; rm results/l results/t; "
        "mkdir results/l; echo owned > results/l/secret; echo owned > results/t"
    )
    process = stage.began(order, "--fetch-every", "0.1", "--", script)
    until((stage.results / "new").exists, "the first fetch")
    either.work.joinpath("go").touch()
    out, err = process.communicate(timeout=60)
    renter.check(out + err)
    stage.check_outside()
    stage.check_output()
    assert (stage.results / "l" / "secret").read_text() == "owned\n"


def test_an_output_that_becomes_a_link_here(stage: Stage, renter: Renter, either: Machine) -> None:
    """A local program replaces a folder with a link between two fetches: no file goes through it.

    Nor does any go through a link of the user's own below the output.
    """
    order = renter.rent("--image", either.image)
    stage.results.joinpath("mine").symlink_to("../../victim")
    script = (
        "mkdir -p results/d results/mine; echo 1 > results/d/new; "
        "until [ -e go ]; do sleep 0.05; done; "
        "echo owned > results/d/secret; echo owned > results/mine/secret"
    )
    process = stage.began(order, "--fetch-every", "0.1", "--", script)
    until((stage.results / "d" / "new").exists, "the first fetch")
    either.work.joinpath("results/pause").touch()
    shutil.rmtree(stage.results / "d")
    (stage.results / "d").symlink_to("../../victim")
    either.work.joinpath("go").touch()
    out, err = process.communicate(timeout=60)
    renter.check(out + err)
    stage.check_outside()


def test_an_output_that_is_a_link_here_from_the_start(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """A file that is a link here is replaced, and the target of the link is unchanged."""
    (stage.results / "new").symlink_to("../train.py")
    done = stage.began(order)
    renter.check("".join(done.communicate(timeout=60)))
    stage.check_outside()
    assert not (stage.results / "new").is_symlink()


def slow(machine: Machine, first: int) -> None:
    """The machine's tar sends so many bytes, then waits for `go` in the home folder."""
    machine.program(
        "tar",
        'for word in "$@"; do case "$word" in --create|-c*|-[!-]*c*) own=1 ;; esac; done\n'
        '[ "$own" ] || exec "$REAL" "$@"\n'
        f'"$REAL" "$@" | {{ head -c {first}; : > "$HOME/half"; '
        'until [ -e "$HOME/go" ]; do sleep 0.05; done; cat; }',
    )


BIG = 3_000_000


def test_no_reader_sees_half_a_file(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """The file is written aside and renamed: a reader sees the old, then the complete new one."""
    slow(machine, 2_000_000)
    (stage.results / "big").write_text("of before")
    sizes: set[int] = set()
    over = threading.Event()

    def read() -> None:
        while not over.wait(0.005):
            sizes.add((stage.results / "big").stat().st_size)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        script = f"mkdir -p results; head -c {BIG} /dev/urandom > results/big"
        process = stage.began(order, "--", script)
        until((machine.home / "half").exists, "the half of it")
        time.sleep(0.3)  # by now all that is ever written of it is written
        (machine.home / "go").touch()
        out, err = process.communicate(timeout=60)
    finally:
        over.set()
        reader.join()
    renter.check(out + err)
    assert process.returncode == 0, err
    assert (stage.results / "big").stat().st_size == BIG
    assert sizes <= {9, BIG}
    left = {p.name for p in stage.results.rglob("*")} | {p.name for p in stage.folder.iterdir()}
    assert left == {"big", "kept", "train.py", "results", ".envrc", ".git", ".cloreignore"}
    stage.check_outside()


@pytest.mark.parametrize("how", ["cut", "killed"])
def test_an_interrupted_fetch_keeps_the_old_file(
    stage: Stage, renter: Renter, machine: Machine, order: int, how: str
) -> None:
    """The connection is cut midway, or clore is killed: the user's file is complete."""
    slow(machine, 2_000_000)
    (stage.results / "big").write_text("of before")
    script = f"mkdir -p results; head -c {BIG} /dev/urandom > results/big"
    process = stage.began(order, "--", script)
    until((machine.home / "half").exists, "the half of it")
    time.sleep(0.3)
    if how == "killed":
        process.kill()
    else:
        machine.shut()
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=90)
    assert (stage.results / "big").read_bytes() == b"of before"
    stage.check_outside()


def test_an_interrupted_get_keeps_the_old_file(
    stage: Stage, machine: Machine, rental: Renting
) -> None:
    """The same for `rental.get`, which raises an error."""
    from clore_ai.exceptions import CloreAPIError

    rental.exec(f"mkdir -p results; head -c {BIG} /dev/urandom > results/big")
    slow(machine, 2_000_000)
    (stage.results / "big").write_text("of before")

    def cut() -> None:
        with contextlib.suppress(AssertionError):
            until((machine.home / "half").exists, "the half of it")
        machine.shut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        with pytest.raises(CloreAPIError):
            rental.get("results", stage.results)
    finally:
        cutter.join()
        machine.open()
    assert (stage.results / "big").read_bytes() == b"of before"
    stage.check_outside()


def test_output_over_the_limit_is_reported(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """--max-output: one sentence with the option's name and the next step; exit 1."""
    script = "mkdir -p results; head -c 3000000 /dev/urandom > results/big"
    done = stage.run(order, "--max-output", "1MB", "--", script, fails=1)
    assert "--max-output" in done.err
    assert not (stage.results / "big").exists()
    again = stage.run(order, "--max-output", "4MB", "--no-upload", "--", "true")
    assert "--max-output" not in again.err
    assert (stage.results / "big").stat().st_size == 3_000_000
    stage.check_outside()


@pytest.mark.parametrize("size", ["0", "-1MB", "1e400GB", "x", "1XB", ""])
def test_an_invalid_size_limit(stage: Stage, size: str) -> None:
    """A size is written as 20GB; anything else is a usage error that says so."""
    said = stage.run(7, f"--max-output={size}", fails=2).err
    assert "GB" in said
    assert "No such option" not in said


def test_a_repository_among_the_outputs_is_not_run(
    stage: Stage, renter: Renter, either: Machine
) -> None:
    """An output has `core.fsmonitor`: the next `clore run` lists the folder and runs nothing."""
    order = renter.rent("--image", either.image)
    run = f"touch {stage.base}/w-ran; false"
    script = (
        "for d in results results/sub; do mkdir -p $d/.git/objects $d/.git/refs/heads; "
        "echo 'ref: refs/heads/main' > $d/.git/HEAD; "
        f'printf \'[core]\\n\\tfsmonitor = "{run}"\\n\\tpager = "{run}"\\n'
        f'\\tsshCommand = "{run}"\\n\\thooksPath = "."\\n\' > $d/.git/config; '
        "echo x > $d/tracked; done"
    )
    stage.began(order, "--", script).communicate(timeout=60)
    renter("run", "--order", order, "--folder", stage.folder, "--", "true")
    renter("run", "--order", order, "--folder", stage.results, "--", "true")
    assert not (stage.base / "w-ran").exists()
    stage.check_output()


def test_the_target_of_a_link_is_not_uploaded_to_the_next_machine(
    stage: Stage, renter: Renter, machine: Machine
) -> None:
    """--retry-on-host-loss uploads the outputs, but never the targets of links among them.

    The owner made the output a link to `~/.ssh`, and is rented again.
    """
    shutil.rmtree(stage.results)
    machine.shell = lambda _n, line: (
        "sh", "-c", f'ln -sfn "{stage.base}/.ssh" work/w/results 2> /dev/null; exec sh -c "$1"',
        "sh", line,
    )  # fmt: skip
    words = (
        "run", "--gpu", "RTX 4090", "--image", machine.image, "--verify", "ssh", "--yes",
        "--retry-on-host-loss", "--folder", stage.folder, "--output", "results",
        "--fetch-every", "0.1", "--lost-after", "0.05m",
    )  # fmt: skip
    process = renter.start(*words, "--", "echo up; until [ -e stop ]; do sleep 0.1; done")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        before = len(machine.lines)
        until(lambda: len(machine.lines) >= before + 3 or stage.results.exists(), "a fetch", 10)
        (first,) = renter.orders()
        machine.shut()
        # Not with `clore cancel`: a job that the user ends does not start again.
        cancel = f"{renter.market.base_url}/cancel_order"
        httpx.post(cancel, headers={"auth": renter.key}, json={"id": first}).raise_for_status()
        until(lambda: len(renter.orders()) == 2, "another machine", 60)
        shutil.rmtree(machine.home / "work")
        machine.shell = honest
        machine.open()
        again = process.stdout.readline()
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=90)
    renter.check(err)
    held = [p for p in machine.home.rglob("*") if p.is_file() and b"private key" in p.read_bytes()]
    assert not held, f"{held[0]} holds the private key"
    assert again == "up\n", err


def test_an_honest_output_arrives_without_a_warning(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """The control of this file: an honest output is fetched, and no warning is printed."""
    done = stage.run(order, "--", ONE_OUTPUT)
    assert (stage.results / "new").read_text() == "1\n"
    assert "Error" not in done.err
    stage.check_outside()
    stage.check_output()
