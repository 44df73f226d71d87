"""A machine never answers or cuts: clore ends by itself, or is killed, and leaves no ssh behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from clients import Api
from ends import FLOODS, SOON_S, WAITING, killed, programs_of, remaining
from waiting import patience, until

from hostile import SILENT, Machine, after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clients import Renting

    from tests.cli.driver import Renter

    from .stage import Stage


def test_a_machine_that_ends_each_session_at_once(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """The shell ends silently, or the connection closes: one sentence, and no ssh left."""
    for words in (("true",), ()):
        machine.shell = lambda _n, _line, words=words: words  # type: ignore[misc]
        with killed(stage.began(order, "--lost-after", "0.05m")) as process:
            try:
                _, err = process.communicate(timeout=40)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=SOON_S)
        renter.check(err)
        assert process.returncode in (1, 4, 130)
        assert str(order) in err, f"{words}: {err!r}"
        assert not remaining(renter.home)


def test_a_machine_that_allows_one_session(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """MaxSessions 1 of sshd: the job runs and outputs are fetched, or a sentence says why not."""
    machine.most_sessions = 1
    with killed(stage.began(order, "--fetch-every", "0.2", "--", f"{WAITING}; exit 5")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(1)  # some fetches were attempted
        (machine.work / "go").touch()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert (stage.results / "new").read_text() == "1\n"


def test_nothing_is_left_after_a_kill(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """After `kill -9` of clore during its job, no ssh of clore's goes on."""
    with killed(stage.began(order, "--", WAITING)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert programs_of(renter.home)
        process.kill()
        process.wait(10)
    assert not remaining(renter.home)


@pytest.mark.parametrize("step", [0, 2])
def test_nothing_is_left_after_a_kill_at_a_silent_machine(
    stage: Stage, renter: Renter, machine: Machine, order: int, step: int
) -> None:
    """The same if the machine does not answer, at the first command or at the upload."""
    machine.shell = after(step, SILENT)
    with killed(stage.began(order)) as process:
        until(lambda: len(machine.lines) > step, "the silence")
        process.kill()
        process.wait(10)
    assert not remaining(renter.home)


def test_commands_end_at_a_silent_machine(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """`jobs`, `monitor --once`, `logs` and `stop` each end with a sentence or a row."""
    with killed(stage.began(order, "--", WAITING)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
        process.wait(10)
    for pid in programs_of(renter.home):
        os.kill(pid, signal.SIGKILL)
    machine.shell = lambda _n, _line: SILENT
    words = {"jobs": 15, "monitor --once": 25, "logs 1": 45, "stop 1": 45, "orders": 15}

    def one(item: tuple[str, int]) -> str | None:
        line, within_s = item
        with killed(renter.start(*line.split())) as looking:
            try:
                out, err = looking.communicate(timeout=patience(within_s))
            except subprocess.TimeoutExpired:
                return f"clore {line} went on for {within_s} s"
            renter.check(out + err)
            if not out + err:
                return f"clore {line} said nothing"
            return None

    with ThreadPoolExecutor(len(words)) as pool:
        wrong = [each for each in pool.map(one, words.items()) if each]
    assert not wrong, "\n".join(wrong)
    assert not remaining(renter.home)


def test_exec_times_out(machine: Machine, rental: Renting) -> None:
    """A command never answers, or a process that holds its pipes outlives it."""
    from clore_ai.exceptions import CloreAPIError, WaitTimeout

    for line in ("exec sleep 1000000", "sleep 1000000 & sleep 1000000"):
        begun = time.monotonic()
        with pytest.raises(WaitTimeout):
            rental.exec(line, timeout=1)
        assert time.monotonic() - begun < 8
    machine.shell = lambda _n, _line: ("cat", "/dev/zero")
    begun = time.monotonic()
    with pytest.raises(CloreAPIError):  # too long, or too much
        rental.exec("anything", timeout=3)
    assert time.monotonic() - begun < 10
    machine.shell = lambda _n, line: ("sh", "-c", line)


@pytest.mark.parametrize("owned", [SILENT, ("sh", "-c", FLOODS["bytes"]), ("true",), ()])
@pytest.mark.parametrize("kind", [pytest.param("sync", marks=pytest.mark.exhaustive), "async"])
def test_a_bad_machine_is_not_handed_over(
    kind: str, stage: Stage, machine: Machine, market: Any, owned: Sequence[str]
) -> None:
    """Silent, flooding or cut during the inspection: `rent` fails in time, with nothing running."""
    from clore_ai.exceptions import RentFailed

    machine.shell = lambda _n, _line: owned
    api = Api(kind, market, state=stage.renter.home)
    begun = time.monotonic()
    try:
        with pytest.raises(RentFailed):
            api.renting(image=machine.image, attempts=1, boot_deadline=3.0).start()
        assert time.monotonic() - begun < 30
        assert [each.id for each in api.my_orders() if each.active] == []
    finally:
        api.shut()
    assert not remaining(stage.renter.home)
