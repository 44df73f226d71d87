"""`clore run` over connections that break or fall silent: no line is lost or doubled."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import pytest
from relay import Relay
from tests.cli.driver import Renter, masters
from tests.cli.run.trouble.conftest import ALL_LINES, COUNTER, first_line, read_rest
from waiting import until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator


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
    while process.poll() is None and len(killed) < 3:
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
