"""A machine that never answers or never stops: one Ctrl-C ends clore, and no ssh is left."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Callable

import pytest
from ends import FLOODS, SOON_S, WAITING, ends, killed, remaining

from hostile import SILENT, Machine, after, at, port_that

from .stage import resident_kb

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from tests.cli.driver import Renter

    from .stage import Stage

STEPS = range(7)
"""The most sessions of a run before its job's output is read; each may be the bad one."""


@pytest.mark.parametrize(
    ("number", "steps"),
    [
        ("SIGINT", (0, 3)),
        pytest.param("SIGINT", STEPS, marks=pytest.mark.exhaustive),
        pytest.param("SIGTERM", (0, 3), marks=pytest.mark.exhaustive),
        # If the terminal closes before the job runs, clore still starts the job, until the machine
        # counts as lost.
        ("SIGHUP", (3,)),
    ],
)
def test_a_silent_machine_at_every_step(
    stage: Stage,
    renter: Renter,
    build: Callable[..., Machine],
    bare: Path,
    number: str,
    steps: Sequence[int],
) -> None:
    """From any session on, the shell never answers: one Ctrl-C ends `clore run`.

    With --cancel the order is cancelled by then; no ssh is left.
    """
    machines = {step: build(bare) for step in steps}
    orders = {step: renter.rent("--image", machines[step].image) for step in steps}

    def one(step: int) -> list[str]:
        machine, order = machines[step], orders[step]
        machine.lines.clear()
        machine.shell = after(step, SILENT)
        words = "--cancel", "--fetch-every", "0.2", "--", WAITING
        with killed(stage.began(order, *words)) as process:
            signalled = getattr(signal, number)
            wrong = ends(renter, process, order, signalled, lambda: len(machine.lines) > step)
        if number != "SIGHUP" and order in [row["id"] for row in renter("orders", "--json").data]:
            wrong.append("the order is not cancelled")
        return [f"from session {step} on: {each}" for each in wrong]

    with ThreadPoolExecutor(len(steps)) as pool:
        wrong = [each for found in pool.map(one, steps) for each in found]
    if number != "SIGHUP":  # then a follower may still look
        left = [] if wrong else list(remaining(renter.home).values())
        wrong += [f"left: {each}" for each in left]
    assert not wrong, "\n".join(wrong)


def test_a_machine_that_goes_silent_during_its_job(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """The job runs, then no command answers any more: Ctrl-C cancels within seconds."""
    with killed(stage.began(order, "--cancel", "--fetch-every", "0.2", "--", WAITING)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        before = len(machine.lines)
        machine.shell = lambda _n, _line: SILENT
        wrong = ends(renter, process, order, signal.SIGINT, lambda: len(machine.lines) > before)
    assert not wrong
    assert renter("orders", "--json").data == []
    assert not remaining(renter.home)


def test_a_fetch_that_never_ends(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """The job has ended and the machine's tar is silent: Ctrl-C ends it and names what stays."""
    machine.program("tar", 'case "$*" in *x*f*) exec "$REAL" "$@" ;; esac\n: > "$HOME/hung"\n'
                    "exec sleep 1000000")  # fmt: skip
    with killed(stage.began(order)) as process:
        wrong = ends(renter, process, order, signal.SIGINT, (machine.home / "hung").exists)
    assert not wrong
    assert not remaining(renter.home)


@pytest.mark.parametrize(
    ("flood", "steps"),
    [
        ("bytes", (2,)),
        *(pytest.param(each, (0, 2), marks=pytest.mark.exhaustive) for each in FLOODS),
    ],
)
def test_a_flood_at_every_step(
    stage: Stage,
    renter: Renter,
    build: Callable[..., Machine],
    bare: Path,
    flood: str,
    steps: Sequence[int],
) -> None:
    """Endless output is not kept in memory, and Ctrl-C ends the command as usual."""
    machines = {step: build(bare) for step in steps}
    orders = {step: renter.rent("--image", machines[step].image) for step in steps}

    def one(step: int) -> list[str]:
        machine, order = machines[step], orders[step]
        machine.lines.clear()
        machine.shell = after(step, ("sh", "-c", FLOODS[flood]))
        with killed(stage.began(order, "--cancel", "--", WAITING, stdout=subprocess.DEVNULL)) as p:
            most_kb: list[int] = []
            watch = threading.Thread(target=_watch, args=(p, most_kb))
            watch.start()
            wrong = ends(renter, p, order, signal.SIGINT, (machine.home / "sent").exists)
            watch.join()
        if max(most_kb) > 200_000:
            wrong.append(f"{max(most_kb) // 1000} MB of memory")
        return [f"from session {step} on: {each}" for each in wrong]

    with ThreadPoolExecutor(len(steps)) as pool:
        wrong = [each for found in pool.map(one, steps) for each in found]
    assert not wrong, "\n".join(wrong)
    assert not remaining(renter.home)


def _watch(process: subprocess.Popen[str], most_kb: list[int]) -> None:
    """Record the peak memory of the process, until its end."""
    most_kb.append(0)
    while process.poll() is None:
        most_kb.append(resident_kb(process.pid))
        time.sleep(0.05)


def refuse(connection: socket.socket) -> None:
    connection.close()


def silent(connection: socket.socket) -> None:
    connection.recv(1)
    threading.Event().wait()


def greets(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    threading.Event().wait()


def chatters(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"no end\x1b]52;c;b3duZWQ=\x07\r\n" * 10)
        time.sleep(0.2)


@pytest.mark.parametrize(
    "answers",
    [silent, chatters, *(pytest.param(f, marks=pytest.mark.exhaustive) for f in (greets, refuse))],
)
def test_a_first_connection_that_fails(
    stage: Stage, renter: Renter, answers: Callable[[socket.socket], object]
) -> None:
    """The message comes within 40 s; Ctrl-C cancels the order."""
    with port_that(answers) as port:
        words = ("deploy", renter.server(), "--type", "on-demand", "--currency", "USD-Blockchain")
        order = int(renter(*words, "--image", at(port)).out)
        with killed(stage.began(order, "--cancel")) as process:
            said = _said(process, order, within_s=40)
            process.send_signal(signal.SIGINT)
            try:
                _, err = process.communicate(timeout=SOON_S)
            except subprocess.TimeoutExpired:
                pytest.fail(f"Ctrl-C did not end it; before it said {said!r}")
        renter.check(said + err)
        assert str(order) in said
        assert "\x1b" not in said + err
        assert process.returncode == 130
        assert renter("orders", "--json").data == []
        assert not remaining(renter.home)


def _said(process: subprocess.Popen[str], of: int, within_s: float) -> str:
    """Read stderr until it names the order, or to its end."""
    lines: list[str] = []

    def read() -> None:
        assert process.stderr is not None
        for line in iter(process.stderr.readline, ""):
            lines.append(line)
            if str(of) in line:
                return

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(within_s)
    if reader.is_alive():
        process.kill()
        reader.join()
        pytest.fail(f"for {within_s:.0f} s the order was not named, only {''.join(lines)!r}")
    return "".join(lines)
