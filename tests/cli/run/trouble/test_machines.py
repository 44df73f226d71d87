"""`clore run` when the machine or the service fails: the job's end and its machine are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from tests.cli.run.trouble.conftest import first_line, read_rest
from waiting import until

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.cli.driver import Renter


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
