"""`clore run` in trouble, with real processes: no line lost or doubled, no machine forgotten."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import pytest
from relay import Relay
from tests.cli.driver import interrupt
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.driver import Renter, Terminal

COUNT = 80
COUNTER = f"i=0; while [ $i -lt {COUNT} ]; do i=$((i+1)); echo line $i; sleep 0.05; done; exit 5"
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


def masters(home: Path) -> list[int]:
    """The ssh master processes of this user's commands."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (each / "cmdline").read_bytes()
            if b"ControlMaster=yes" in words and os.fsencode(home) in words:
                found.append(int(each.name))
    return found


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


@pytest.fixture
def relay(renter: Renter, order: int, tmp_path: Path) -> Iterator[Relay]:
    """The user's ssh reaches the order through this relay."""
    how = renter("ssh", order, "--json").data
    made = Relay(how["port"])
    programs = tmp_path / "through"
    programs.mkdir()
    real = shutil.which("ssh")
    (programs / "ssh").write_text(
        f'#!/bin/sh\nexec {real} $FIRST -o ProxyCommand="nc -N 127.0.0.1 {made.port}" "$@"\n'
        if shutil.which("nc")
        else f"#!/bin/sh\nexec {real} $FIRST -o ProxyCommand='bash -c \"exec 3<>/dev/tcp/127.0.0.1/"
        f'{made.port}; cat <&3 & exec cat >&3"\' "$@"\n'
    )
    (programs / "ssh").chmod(0o700)
    renter.env["PATH"] = f"{programs}:{renter.env['PATH']}"
    yield made
    made.close()


def test_a_killed_connection_loses_and_doubles_nothing(
    renter: Renter, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Ssh's master is killed again and again; output is complete, the exit code the job's own."""
    process = start("--cancel", "--", COUNTER)
    out = first_line(process)
    killed: set[int] = set()
    while process.poll() is None and len(killed) < 4:
        for pid in set(masters(renter.home)) - killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.4)
    rest, err = read_rest(process)
    assert out + rest == ALL_LINES, err
    assert process.returncode == 5
    assert len(killed) >= 2
    assert renter("orders", "--json").data == []


def test_the_network_goes_away_and_returns(
    renter: Renter, order: int, relay: Relay, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """The loss is reported, the connection is retried, and output goes on where it stopped."""
    process = start("--", COUNTER)
    out = first_line(process)
    relay.block()
    until(lambda: relay.refused >= 3, "three tries", 60)
    relay.unblock()
    rest, err = read_rest(process)
    assert out + rest == ALL_LINES, err
    assert process.returncode == 5
    assert "The connection is lost" in err
    assert "Connected again" in err


KEPT_ALIVE_S = 1
SSH_FIRST = f"-o ServerAliveInterval={KEPT_ALIVE_S} -o ServerAliveCountMax=2"
"""Time is scaled: as shipped, ssh asks every 5 s, and gives up after three without an answer."""


def test_a_connection_that_goes_silent(
    renter: Renter, order: int, relay: Relay, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """After a change of Wi-Fi and address the old connection never ends, and no error arrives."""
    renter.env["FIRST"] = SSH_FIRST
    process = start("--", COUNTER)
    out = first_line(process)
    for _ in range(2):
        before = relay.connections
        relay.go_silent()
        until(lambda before=before: relay.connections > before, "another connection", 60)  # type: ignore[misc]
    rest, err = read_rest(process)
    assert out + rest == ALL_LINES, err
    assert process.returncode == 5


@contextlib.contextmanager
def asleep(
    renter: Renter, order: int, start: Callable[..., subprocess.Popen[str]]
) -> Iterator[tuple[subprocess.Popen[str], str, Callable[[], object]]]:
    """A laptop asleep during the block: `clore run`, its first line, a wait for the job's end.

    All its processes stop, and go on after the block.
    """
    home = Path(renter("ssh", order, "--", "pwd").out.strip())
    process = start("--lost-after", "0.05m", "--", COUNTER)
    out = first_line(process)
    pids = [process.pid, *masters(renter.home)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    (code,) = home.glob(".clore/jobs/*/code")
    yield process, out, lambda: until(lambda: code.read_text().strip() == "5", "the job's end", 60)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_a_sleep_longer_than_every_timeout(
    renter: Renter, order: int, relay: Relay, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """The machine dropped the connection unknown to the laptop, and the job ended long ago."""
    renter.env["FIRST"] = SSH_FIRST
    with asleep(renter, order, start) as (process, out, wait_for_the_job):
        relay.go_silent()
        wait_for_the_job()
        time.sleep(3 * KEPT_ALIVE_S + 1)  # longer than ssh waits, or a silent machine
    rest, err = read_rest(process)
    assert out + rest == ALL_LINES, err
    assert process.returncode == 5


def test_a_laptop_that_sleeps(
    renter: Renter, order: int, relay: Relay, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """All processes stop while the job ends and the connection dies; then they go on."""
    with asleep(renter, order, start) as (process, out, wait_for_the_job):
        relay.block()
        wait_for_the_job()
        time.sleep(3.5)  # longer than the machine may be silent: sleep does not count as silence
        relay.unblock()
    rest, err = read_rest(process)
    assert out + rest == ALL_LINES, err
    assert process.returncode == 5


def test_a_host_that_is_gone_ends_the_job(
    renter: Renter, folder: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """The message lists what was fetched before; the machine is cancelled, exit 1."""
    renter.fault("create_order", "host_dies", delay_s=8.0)
    order = renter.rent()
    process = start(
        "--cancel", "--lost-after", "0.05m", "--output", "o", "--fetch-every", 0.2, "--",
        "mkdir o; echo 1 > o/x; echo up; sleep 600", at=order,
    )  # fmt: skip
    assert first_line(process) == "up\n"
    until((folder / "o" / "x").exists, "the first fetch")
    _, err = read_rest(process)
    assert process.returncode == 1
    assert "lost with its machine" in err
    assert f"Cancelled: order {order}" in err
    assert order not in [row["id"] for row in renter("orders", "--json").data]
    assert (folder / "o" / "x").read_text() == "1\n"


def test_an_order_cancelled_during_a_job_ends_it(
    renter: Renter, order: int, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """If the order is cancelled elsewhere, the job is lost at once, not after minutes."""
    process = start("--", "echo up; sleep 600")
    assert first_line(process) == "up\n"
    renter("cancel", order)
    _, err = read_rest(process)
    assert process.returncode == 1
    assert "has ended" in err


def test_ctrl_c_without_a_terminal_stops_and_cancels(
    renter: Renter, folder: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """The job ends cleanly, its outputs are fetched, the machine is cancelled, exit 130."""
    script = "mkdir o; trap 'echo last > o/x; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    process = start("--cancel", "--output", "o", "--", script)
    assert first_line(process) == "up\n"
    interrupt(process)
    _, err = read_rest(process)
    assert process.returncode == 130, err
    assert (folder / "o" / "x").read_text() == "last\n"
    assert renter("orders", "--json").data == []


def test_ctrl_c_does_not_interrupt_the_cancel(
    renter: Renter, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """However often it is pressed, the machine is cancelled."""
    process = start("--cancel", "--", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    assert first_line(process) == "up\n"
    while process.poll() is None:
        interrupt(process)
        time.sleep(0.3)
    assert process.returncode == 130
    assert renter("orders", "--json").data == []


@pytest.mark.parametrize("answer", ["k", "c", "again"])
def test_ctrl_c_on_a_terminal_asks(
    renter: Renter, order: int, folder: Path, terminal: Callable[..., Terminal], answer: str
) -> None:
    """Once: keep or cancel? Twice, or c: job and machine end. k: both stay, and are named."""
    screen = terminal(renter)
    screen.start(f"clore run --order {order} --cancel --folder '{folder}' -- '{WAITING}'")
    screen.wait("\nup")
    screen.keys("C-c")
    screen.wait("[k]eep it running, or [c]ancel")
    if answer == "again":
        screen.keys("C-c")
    else:
        screen.type("what")
        screen.wait("Type k to keep")
        screen.type(answer)
    shown = screen.wait("end=", 60)
    assert "end=130" in shown
    running = [row["id"] for row in renter("orders", "--json").data]
    if answer == "k":
        assert running == [order]
        assert "clore attach 1" in shown
        assert renter("jobs", "--json").data[0]["state"] == "watched"
        go(renter, order)
        until(lambda: renter("orders", "--json").data == [], "its end in the background", 40)
        assert renter("logs", 1).out == "up\nwent\n"
    else:
        assert f"Cancelled: order {order}" in shown
    assert renter("orders", "--json").data == []


def test_a_closed_terminal_does_not_end_the_job(
    renter: Renter, order: int, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """After SIGHUP the job goes on, and a background process follows it."""
    process = start("--cancel", "--", WAITING)
    assert first_line(process) == "up\n"
    process.send_signal(signal.SIGHUP)
    read_rest(process)
    assert process.returncode == 129
    assert renter("jobs", "--json").data[0]["state"] == "watched"
    go(renter, order)
    until(lambda: renter("orders", "--json").data == [], "its end in the background", 40)
    assert renter("jobs", "--json").data[0]["exit"] == 5


def test_a_job_whose_clore_was_killed_can_be_attached(
    renter: Renter, order: int, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """After kill -9 the job goes on; attach shows the unseen output, then ends job and machine."""
    process = start("--cancel", "--", WAITING)
    assert first_line(process) == "up\n"
    process.kill()
    process.wait()
    go(renter, order)
    assert renter("attach", 1, fails=5).out == "went\n"
    assert renter("logs", 1).out == "up\nwent\n"
    assert renter("orders", "--json").data == []


def test_a_closed_pipe_does_not_end_the_job(renter: Renter, order: int, folder: Path) -> None:
    """`clore run … | head`: the job is followed to its end, and its exit code is passed on."""
    process = renter.start("run", "--order", order, "--folder", folder, "--", COUNTER)
    assert first_line(process) == "line 1\n"
    assert process.stdout is not None
    process.stdout.close()
    with process:
        assert process.wait(60) == 5
    assert renter("logs", 1).out == ALL_LINES


def test_a_full_disk_here(
    renter: Renter, order: int, folder: Path, start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Outputs that do not fit keep the machine; a bold message says so, and attach tries again."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
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
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    jobs = home / ".clore"
    jobs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(jobs)], check=True)
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
    for missing in (("rsync", "tmux"), ("rsync", "tmux", "setsid")):
        order = renter.rent("--env", f"PATH={without(tmp_path, *missing)}")
        (folder / "x").write_text("1\n")
        words = ("run", "--order", order, "--folder", folder, "--output", "o")
        done = renter(
            *words, "--", "command -v rsync tmux; cat x; mkdir o; echo 2 > o/y; exit 5", fails=5
        )
        assert done.out == "1\n"
        assert (folder / "o" / "y").read_text() == "2\n"
        shutil.rmtree(folder / "o")
        renter(*words, "--detach", "--", "echo up; sleep 600")
        number = renter("jobs", "--json").data[-1]["id"]
        until(lambda number=number: "up" in renter("logs", number).out)  # type: ignore[misc]
        renter("stop", number)
        assert renter("jobs", "--json").data[-1]["exit"] == 143
        renter("cancel", order)


def test_a_machine_that_refuses_every_login(renter: Renter, folder: Path) -> None:
    """The refusal is reported at once, and with --cancel the order is cancelled."""
    renter.fault("create_order", "refuses_key")
    order = renter.rent()
    done = renter("run", "--order", order, "--cancel", "--folder", folder, "--", "true", fails=1)
    assert "refuses the login" in done.err
    assert f"Cancelled: order {order}" in done.err


def test_slow_and_lost_answers_do_not_disturb_the_job(
    renter: Renter, order: int, folder: Path
) -> None:
    """Faults of the service do not affect the job."""
    for endpoint, kind in (
        ("my_orders", "500"),
        ("my_orders", "late"),
        ("cancel_order", "cdn_403"),
        ("cancel_order", "act_then_cut"),
    ):
        renter.fault(endpoint, kind)
    done = renter("run", "--order", order, "--cancel", "--folder", folder, "--", "exit 5", fails=5)
    assert f"Cancelled: order {order}" in done.err
