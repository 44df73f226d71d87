"""A machine that comes back changed is lost, cancelled and replaced, not half-followed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Callable

import pytest
from waiting import until

from hostile import SILENT, Machine
from tests.cli.driver import kill_follower

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from clore_ai.jobs.engine import Engine
    from tests.cli.driver import Renter

    from .stage import Stage

LOST_AFTER = ("--lost-after", "2s")
WAITING = "echo up; sleep 600"


def another_key(machine: Machine) -> None:
    """The host key has changed."""
    machine.shut(host_key=True)
    machine.open()


def refuses(machine: Machine) -> None:
    """The machine no longer accepts the order's key."""
    machine.lets_in = False
    machine.shut()
    machine.open()


def empty(machine: Machine) -> None:
    """The disk is empty: no job, no working folder."""
    machine.shut()
    for each in machine.home.iterdir():
        shutil.rmtree(each, ignore_errors=True)
    machine.open()


def hangs(machine: Machine) -> None:
    """Logins succeed, and no command returns."""
    machine.shell = lambda _number, _line: SILENT
    machine.shut()
    machine.open()


@pytest.fixture
def german(tmp_path: Path, renter: Renter) -> None:
    """The user's ssh speaks German, on a German system."""
    programs = tmp_path.parent / f"{tmp_path.name}-german"
    programs.mkdir()
    real = shutil.which("ssh")
    (programs / "ssh").write_text(
        "#!/bin/bash\n"
        f'exec {real} "$@" 2> >(sed -u \'s/Permission denied/Zugriff verweigert/;'
        "s/HOST IDENTIFICATION HAS CHANGED/DER RECHNER HAT SICH AUSGEWIESEN ALS EIN ANDERER/;"
        "s/verification failed/ist gescheitert/' >&2)\n"
    )
    (programs / "ssh").chmod(0o700)
    renter.env["PATH"] = f"{programs}:{renter.env['PATH']}"
    renter.env["LC_ALL"] = renter.env["LANG"] = "de_DE.UTF-8"


def up(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"


@pytest.mark.usefixtures("german")
@pytest.mark.parametrize(
    "came_back",
    [another_key, empty, pytest.param(refuses, marks=pytest.mark.exhaustive)],
    ids=lambda way: way.__name__,
)
def test_run_reports_the_loss_and_cancels(
    stage: Stage,
    renter: Renter,
    machine: Machine,
    order: int,
    came_back: Callable[[Machine], None],
) -> None:
    """Reported, lost after the time limit, cancelled, exit 1; the host's record has the loss."""
    words = ("--order", order, "--cancel", "--folder", stage.folder, *LOST_AFTER)
    with renter.start("run", *words, "--", WAITING) as process:
        up(process)
        came_back(machine)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 1, err
    assert "is lost with its machine" in err
    assert f"Cancelled: order {order}" in err
    assert ("Retrying" in err) != (came_back is empty), err
    assert [row["lost"] for row in renter("hosts", "--json").data["seen"]] == [1]


def test_the_follower_ends_the_job(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """`jobs` starts a follower, which ends the job."""
    words = ("--order", order, "--cancel", "--detach", "--folder", stage.folder, *LOST_AFTER)
    renter("run", *words, "--", WAITING)
    kill_follower(renter)
    refuses(machine)
    assert renter("jobs", "--json").data[0]["state"] in ("unknown", "watched")
    until(lambda: renter("orders", "--json").data == [], "its end", 100)
    until(lambda: renter("jobs", "--json").data[0]["cancelled"], "the note of it")
    (job,) = renter("jobs", "--json").data
    assert (job["state"], job["exit"]) == ("lost", None)


def test_attach_ends_the_job(stage: Stage, renter: Renter, machine: Machine, order: int) -> None:
    """The machine changed before any command looked at it."""
    words = ("--order", order, "--cancel", "--detach", "--folder", stage.folder, *LOST_AFTER)
    renter("run", *words, "--", WAITING)
    kill_follower(renter)
    another_key(machine)
    done = renter("attach", 1, fails=1)
    assert f"Cancelled: order {order}" in done.err


def test_another_machine_is_rented(stage: Stage, renter: Renter, machine: Machine) -> None:
    """With --retry-on-host-loss the job starts again, and the exit code is from the second run."""
    words = ("--gpu", "RTX", "--currency", "USD", "--yes", "--verify", "ssh", *LOST_AFTER)
    script = "[ ! -e again ] || exit 4; touch again; echo up; sleep 600"
    where = ("--image", machine.image, "--retry-on-host-loss", "--folder", stage.folder)
    with renter.start("run", *words, *where, "--", script) as process:
        up(process)
        another_key(machine)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 4, err
    assert len(renter.orders()) == 2
    assert renter("orders", "--json").data == []


def test_commands_that_never_return(
    stage: Stage,
    renter: Renter,
    machine: Machine,
    order: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A login proves nothing: reported after 30 s (here 1), lost after the time limit, no retry."""
    from clore_ai import CloreAI
    from clore_ai._api.waits import WAITS
    from clore_ai.jobs import Jobs, Output
    from clore_ai.jobs.supervise.supervision import Supervision

    monkeypatch.setattr(WAITS, "report_after_s", 1.0)
    messages: list[str] = []
    with CloreAI(renter.key, renter.market.base_url, state=renter.home) as api:
        jobs = Jobs.of(api.session)
        facts = {"order_id": order, "command": ["x"], "folder": str(stage.folder), "work": "work/w"}
        job = jobs.add({**facts, "lost_after_s": 3.0})

        def on_message(sentence: str) -> None:
            messages.append(sentence)

        def show(_piece: bytes) -> None:
            hangs(machine)

        async def watch(engine: Engine) -> str:
            with jobs.hold(job.id), Output(jobs.log(job.id), show, on_message) as output:
                watching = Supervision(
                    engine, jobs, job, output, "echo up; sleep 600", on_message=on_message
                )
                return await watching.run()

        assert api.in_loop(watch) == "lost"
    assert job.state == "lost"
    assert any("no response for 1 s" in each for each in messages), messages
    assert "its machine is lost" in messages[-1]
