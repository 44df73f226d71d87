"""`clore run` that is interrupted, killed or cut off from its terminal: no machine is forgotten."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Callable

import pytest
from tests.cli.driver import Renter, Terminal, interrupt
from tests.cli.run.trouble.conftest import ALL_LINES, COUNTER, WAITING, first_line, go, read_rest
from waiting import until

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


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
