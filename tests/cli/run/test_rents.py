"""`clore run` without --order rents, verifies, uses and cancels a machine, or replaces it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import broken
import pytest
from tests.cli.driver import FLEET, Clore, followers, interrupt, kill_follower
from waiting import until

from clore_ai import AsyncCloreAI, CloreAI, InvalidInputError, NotFoundError
from clore_ai._state.ledger import Ledger, account_of
from clore_ai._state.store import Store
from clore_ai.models.price import Rates
from clore_ai.rental.limits.expiry import cost_usd
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.driver import Renter

    from clore_ai.jobs import Job

WISH = ("--gpu", "RTX", "--max-price", "5/h", "--currency", "USD", "--yes")


@pytest.fixture(scope="module")
def market() -> Iterator[Sandbox]:
    """A marketplace of this file's own, since any suitable server may be rented."""
    with Sandbox(inventory=FLEET, limits=False, visibility_lag_s=0.1, boot_s=0.1) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def take() -> Callable[[], int]:
    """No test of this file asks for a server by its number."""
    return lambda: pytest.fail("any server may be rented here")


def running(renter: Renter) -> list[int]:
    return [row["id"] for row in renter("orders", "--json").data]


def test_run_rents_runs_fetches_and_cancels(renter: Renter, folder: Path) -> None:
    """Output, results, cost and the job's exit code are all there; no order goes on."""
    (folder / "x").write_text("1\n")
    script = "nvidia-smi -L | cut -c1-6; cat x; mkdir o; echo 2 > o/y; exit 4"
    done = renter("run", *WISH, "--folder", folder, "--output", "o", "--", script, fails=4)
    assert done.out == "GPU 0:\n1\n"
    assert (folder / "o" / "y").read_text() == "2\n"
    assert "Rented: order" in done.err
    assert "It ran" in done.err
    assert "cost" in done.err
    assert running(renter) == []
    (job,) = renter("jobs", "--json").data
    assert (job["state"], job["exit"], job["cancels"], job["cancelled"]) == ("ended", 4, True, True)


def test_keep_leaves_the_machine_with_a_lease(renter: Renter, folder: Path) -> None:
    """--order uses the machine again and uploads only changes; the machine stays until a cancel."""
    renter("run", *WISH, "--keep", "--lease", "2h", "--folder", folder, "--", "echo 1 > kept")
    (order,) = running(renter)
    (lease,) = renter("lease", "--json").data
    assert 6_000 < lease["left_s"] <= 7_200
    assert renter("run", "--order", order, "--folder", folder, "--", "cat kept").out == "1\n"
    renter("run", "--order", order, "--cancel", "--folder", folder, "--", "true")
    assert running(renter) == []


def test_a_bid_is_raised_once_a_command_follows_the_job(
    renter: Renter, folder: Path, market: Sandbox
) -> None:
    """If it was outbid while no command followed the job, attach raises it, up to the limit."""
    words = ("--gpu", "RTX", "--currency", "USD", "--spot", "--max-bid", "5/h", "--yes")
    rented = renter("run", *words, "--detach", "--folder", folder, "--", "sleep 300")
    assert "Nothing raises its bid" not in rented.err
    kill_follower(renter)
    (order,) = renter("orders", "--json").data
    key = market.create_account({"USD-Blockchain": 1_000})
    home = renter.home.with_name(".rival")
    rival = Clore(home, {**renter.env, "CLORE_API_KEY": key, "CLORE_HOME": str(home)}, key)
    bid = order["price"] + 0.5
    rival("deploy", order["server_id"], "--image", "img", "--type", "spot",
          "--currency", "USD", "--spot-price", bid)  # fmt: skip
    (stands,) = renter("orders", "--json").data
    assert stands["status"] != "running"
    watching = renter.start("attach", 1)
    with watching:
        # The disk may be lost with the turn; then the job is lost, and the machine cancelled.
        whole = ("orders", "--completed", "--json")
        until(lambda: renter(*whole).data[0]["price"] > bid, "the raise", 60)
        assert renter(*whole).data[0]["price"] < bid + 0.01
        with suppress(ProcessLookupError):
            interrupt(watching)
        said = watching.communicate("c\n", timeout=60)[1]
    assert "The bid was raised to" in said
    assert running(renter) == []


def test_contradictory_options_are_refused(renter: Renter, folder: Path) -> None:
    """Nothing is rented and no job is recorded."""
    for words, said in (
        (("--order", 7, "--gpu", "RTX"), "--gpu applies to a new rental"),
        (("--order", 7, "--image", "x"), "--image applies to a new rental"),
        (("--order", 7, "--retry-on-host-loss"), "can't be combined with --order"),
        (("--order", 7, "--keep", "--cancel"), "contradict each other"),
        (("--gpu", "RTX", "--yes", "--cancel"), "--cancel needs --order"),
        (("--gpu", "RTX", "--currency", "USD"), "Add --yes"),
    ):
        assert said in renter("run", "--folder", folder, *words, "--", "true", fails=2).err
    assert renter("run", "--gpu", "NoSuch", "--yes", "--", "true", fails=6).err
    assert renter.orders() == []
    assert renter("jobs", "--json").data == []


def test_an_unusable_state_folder_is_found_before_renting(renter: Renter, folder: Path) -> None:
    """Nothing is rented, so it costs nothing."""
    renter.home.mkdir(mode=0o700, exist_ok=True)
    (renter.home / "jobs").write_text("in the way")
    done = renter("run", *WISH, "--folder", folder, "--", "true", fails=2)
    assert "can't be written" in done.err
    assert renter.orders() == []


def test_a_lost_host_is_replaced(renter: Renter, folder: Path) -> None:
    """A new machine gets the outputs that had been fetched; the old order is cancelled."""
    renter.fault("create_order", "host_dies", delay_s=12.0)
    script = (
        "mkdir -p o; if [ -e o/half ]; then echo again; cat o/half; echo 2 > o/whole; exit 4; fi; "
        "echo 1 > o/half; echo first; sleep 600"
    )
    done = renter(
        "run", *WISH, "--retry-on-host-loss", "--lost-after", "0.05m", "--folder", folder,
        "--output", "o", "--fetch-every", 0.2, "--", script, fails=4, timeout=110,
    )  # fmt: skip
    assert done.out == "first\nagain\n1\n"
    assert (folder / "o" / "whole").read_text() == "2\n"
    assert len(renter.orders()) == 2
    assert running(renter) == []
    states = [job["state"] for job in renter("jobs", "--json").data]
    assert states == ["lost", "ended"]


def test_a_lost_host_is_not_rented_again(renter: Renter, folder: Path) -> None:
    """The same command does not take it, though it is back and cheapest; `clore hosts` lists it."""
    renter.fault("create_order", "host_dies", delay_s=12.0)
    words = (
        "run", *WISH, "--verify", "ssh", "--retry-on-host-loss", "--lost-after", "0.05m",
        "--folder", folder, "--output", "o", "--fetch-every", 0.2, "--",
        "[ ! -e o ] || exit 4; mkdir o; touch o/x; sleep 600",
    )  # fmt: skip
    with renter.start(*words) as process:
        assert process.stderr is not None
        said = ""
        while "lost with its machine" not in said:
            said += process.stderr.readline() or pytest.fail(said)
        first = ledger_of(renter).intents()[0]
        renter.market.set_online(first.server_id, online=True)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 4, said + err
    last = ledger_of(renter).intents()[-1]
    assert last.order_id != first.order_id
    assert last.server_id != first.server_id
    seen = {row["server_id"]: row for row in renter("hosts", "--json").data["seen"]}
    assert (seen[first.server_id]["lost"], seen[first.server_id]["counting"]) == (1, 1)
    assert seen[last.server_id]["lost"] == 0
    assert "lost during a job" in renter("hosts").out


def test_attach_records_the_loss_of_a_host(renter: Renter, folder: Path) -> None:
    """`attach` records it too, for a job whose clore was killed."""
    renter.fault("create_order", "host_dies", delay_s=7_200)
    words = ("--verify", "ssh", "--folder", folder, "--lost-after", "0.05m")
    with renter.start("run", *WISH, *words, "--", "echo up; sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
    renter.market.jump(3 * 3_600)
    renter("attach", 1, fails=1)
    (seen,) = renter("hosts", "--json").data["seen"]
    assert (seen["boots"], seen["lost"]) == (1, 1)


def test_a_cancel_elsewhere_is_not_held_against_the_host(renter: Renter, folder: Path) -> None:
    """A cancel from another terminal leaves no mark on the host's record."""
    process = renter.start("run", *WISH, "--folder", folder, "--", "echo up; sleep 600")
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        renter("cancel", *renter.orders())
        process.communicate(timeout=60)
    (seen,) = renter("hosts", "--json").data["seen"]
    assert (seen["boots"], seen["failures"]) == (1, 0)


@pytest.mark.parametrize("moment", ["before", "while it boots", "while it runs"])
def test_without_a_network_one_order_is_made_and_no_host_blamed(
    renter: Renter, folder: Path, tmp_path: Path, moment: str
) -> None:
    """No network at the start: no order. A running job is waited for, and never counted as lost."""
    ssh = broken.Ssh(tmp_path / "programs")
    env = {"PATH": f"{ssh.folder}:{renter.env['PATH']}"}
    words = ("run", *WISH, "--retry-on-host-loss", "--lost-after", "0.02m", "--folder", folder)
    if moment == "before":
        renter("config", "set", "ssh_options", "-J me@127.0.0.1:9")
        done = renter(*words, "--", "true", fails=1, **env)
        assert "Nothing was rented. The jump host 127.0.0.1:9 of ssh_options" in done.err
        assert renter.orders() == []
        return
    if moment == "while it boots":
        ssh.breaks()
        done = renter(*words, "--", "true", fails=1, **env)
        assert "ssh has no way out of this machine" in done.err
    else:
        flag = tmp_path / "go"
        with renter.start(*words, "--", f"echo up; until [ -e {flag} ]; do sleep 0.1; done; exit 4",
                          env=env) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            ssh.breaks()
            cut(renter)
            until(lambda: ssh.tries >= 8, "tries to connect", 60)
            assert process.poll() is None
            ssh.mends()
            flag.touch()
            _, err = process.communicate(timeout=60)
        assert process.returncode == 4, err
        assert "ssh has no way out of this machine" in err
    assert len(renter.orders()) == 1
    assert running(renter) == []
    seen = renter("hosts", "--json").data["seen"]
    assert [row["failures"] for row in seen] in ([], [0])


def cut(renter: Renter) -> None:
    """Cut the job's connection, as a network that goes away does."""
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (each / "cmdline").read_bytes()
            if b"ControlMaster=yes" in words and bytes(renter.home) in words:
                os.kill(int(each.name), signal.SIGKILL)


def ledger_of(renter: Renter) -> Ledger:
    return Ledger(Store(renter.home), account_of(renter.market.base_url, renter.key))


STEPS = ("balance", "Renting", "Created order", "SSH logs in", "Rented", "Uploaded")


@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_at_any_moment_leaves_nothing(renter: Renter, folder: Path, step: str) -> None:
    """Ctrl-C during search, rental, check, upload or run: exit 130 and no more cost."""
    process = renter.start("run", *WISH, "--folder", folder, "--", "sleep 600")
    with process:
        assert process.stderr is not None
        said = ""
        while step not in said:
            said += process.stderr.readline() or pytest.fail(said)
        interrupt(process)
        _, err = process.communicate(timeout=60)
    # CPython dies of the signal itself if it arrives while source text makes a class.
    assert process.returncode in (130, -signal.SIGINT), said + err
    assert "Traceback" not in err
    until(lambda: running(renter) == [], "an end")


def test_ctrl_c_spares_orders_of_other_commands(renter: Renter, folder: Path) -> None:
    """An order made meanwhile by another command with the same key is kept."""
    servers = FLEET["servers"]
    # The most expensive server that takes USD, which no test takes by itself.
    dear = max(
        (s for s in servers if not s["rented"] and "USD-Blockchain" in s["allowed_coins"]),
        key=lambda s: s["price"]["usd"]["on_demand_usd"],
    )
    renter.fault("marketplace", "late", delay_s=8)
    process = renter.start("run", *WISH, "--folder", folder, "--", "sleep 600")
    with process:
        until(lambda: renter.requests("marketplace"), "its look")
        other = renter.rent(server=dear["id"])
        interrupt(process)
        _, err = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), err
    assert running(renter) == [other]


def test_stop_ends_a_job_whose_clore_was_killed(renter: Renter, folder: Path) -> None:
    """After a kill -9 `clore jobs` lists the job, and `clore stop` ends the job and its machine."""
    process = renter.start("run", *WISH, "--folder", folder, "--", "echo up; sleep 600")
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        os.kill(process.pid, signal.SIGKILL)
    assert renter("jobs", "--json").data[0]["state"] == "running"
    renter("stop", 1)
    assert running(renter) == []


def test_max_cost_covers_all_machines_of_a_job(renter: Renter, folder: Path) -> None:
    """The billed cost of a lost machine counts; once the limit is used up the exit code is 7."""
    words = (
        "run", *WISH, "--retry-on-host-loss", "--lost-after", "0.05m", "--folder", folder,
        "--output", "seen", "--fetch-every", 0.2, "--",
    )  # fmt: skip
    script = "[ ! -e seen ] || exit 4; touch seen; echo up; sleep 600"
    ledger = ledger_of(renter)

    def lost_after_two_hours(max_cost: float) -> tuple[int, str]:
        (folder / "seen").unlink(missing_ok=True)
        renter.fault("create_order", "host_dies", delay_s=7_200)
        with renter.start(*words[:-1], "--max-cost", max_cost, *words[-1:], script) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            until((folder / "seen").exists, "the first fetch")
            renter.market.jump(3 * 3_600)
            _, err = process.communicate(timeout=100)
        return process.returncode, err

    code, err = lost_after_two_hours(20)
    assert code == 4, err
    first, last = sorted(ledger.intents(), key=lambda intent: intent.id or 0)
    cost = cost_usd(first, Rates())
    assert cost is not None
    assert 0.01 < cost < 20
    assert first.max_cost_usd == 20
    assert last.max_cost_usd == pytest.approx(20 - cost)
    assert f"It has cost ${cost:.4f} so far" in err

    code, err = lost_after_two_hours(cost * 0.8)
    assert code == 7
    assert "does not start again" in err
    assert len(renter.orders()) == 3
    assert running(renter) == []


def test_a_follower_handles_a_lost_host(renter: Renter, folder: Path) -> None:
    """The follower records the loss and cancels the machine with no command running."""
    renter.fault("create_order", "host_dies", delay_s=7_200)
    words = ("--verify", "ssh", "--detach", "--folder", folder, "--lost-after", "0.05m")
    renter("run", *WISH, *words, "--", "sleep 600")
    renter.market.jump(3 * 3_600)
    until(lambda: renter("orders", "--json").data == [], "the order's end", 90)
    until(lambda: not followers(renter), "the end of the follower")
    (job,) = renter("jobs", "--json").data
    assert (job["state"], job["cancelled"]) == ("lost", True)


@pytest.fixture(params=["blocking", "async"])
def call(request: pytest.FixtureRequest, renter: Renter) -> Callable[..., Any]:
    """Calls any method of either client, with the renter's key and state folder."""

    def call(name: str, *args: object, **options: object) -> Any:
        place = {"base_url": renter.market.base_url, "state": renter.home}
        if request.param == "blocking":
            with CloreAI(renter.key, **place) as client:
                client.rate_limiter.min_interval = 0
                return getattr(client, name)(*args, **options)

        async def main() -> Any:
            async with AsyncCloreAI(renter.key, **place) as client:
                client.rate_limiter.min_interval = 0
                return await getattr(client, name)(*args, **options)

        return asyncio.run(main())

    return call


def mostly(kind: str, other: str) -> pytest.MarkDecorator:
    """The suite plays one of the clients: both take the same steps."""
    kinds = [kind, pytest.param(other, marks=pytest.mark.exhaustive)]
    return pytest.mark.parametrize("call", kinds, indirect=True)


@pytest.fixture
def python(call: Callable[..., Any]) -> Callable[..., Job]:
    """`run` of either client."""
    return partial(call, "run")


MACHINE = {"max_price_usd": 5, "currency": "USD-Blockchain", "verify": "ssh"}


def test_python_rents_runs_and_cancels(
    python: Callable[..., Job], renter: Renter, folder: Path
) -> None:
    """Without an order, the client rents one, emits the messages of `clore run`, and cancels it."""
    said: list[str] = []
    job = python("exit 4", gpu="RTX", rent=MACHINE, folder=folder, on_message=said.append)
    assert (job.code, job.state, job.cancelled) == (4, "ended", True)
    assert any(f"Job {job.id} ended with 4" in each for each in said), said
    assert any(f"Cancelled: order {job.order_id}" in each for each in said), said
    assert running(renter) == []


@mostly("async", "blocking")
def test_python_detaches(python: Callable[..., Job], renter: Renter, folder: Path) -> None:
    """`detach` returns once the job runs; a background process cancels the machine."""
    job = python("sleep 1; exit 3", gpu="RTX", rent=MACHINE, folder=folder, detach=True)
    assert job.state == "running"
    until(lambda: renter("jobs", "--json").data[0]["cancelled"], "the end of the job", 60)
    assert renter("jobs", "--json").data[0]["exit"] == 3
    assert running(renter) == []


@mostly("blocking", "async")
def test_python_follows_a_detached_job_to_its_end(
    python: Callable[..., Job], call: Callable[..., Any], renter: Renter, folder: Path
) -> None:
    """The output comes from the beginning; the follower in the background hands over."""
    words = "echo one; until [ -e go ]; do sleep 0.1; done; echo two; exit 3"
    detached = python(words, gpu="RTX", rent=MACHINE, folder=folder, detach=True)
    ((job, state),) = call("my_jobs")
    assert (job.id, state) == (detached.id, "watched")
    shown: list[bytes] = []

    def wrote_one() -> bool:
        shown.clear()
        call("job_output", job.id, shown.append)
        return b"".join(shown) == b"one\n"

    until(wrote_one, "the first line")
    renter("ssh", str(job.order_id), "--", f"touch {job.work}/go")
    said: list[str] = []
    ended = call("attach", job.id, on_message=said.append)
    assert (ended.code, ended.state, ended.cancelled) == (3, "ended", True), said
    shown.clear()
    call("job_output", job.id, shown.append, follow=True)
    assert b"".join(shown) == b"one\ntwo\n"
    assert running(renter) == []


@mostly("async", "blocking")
def test_python_stops_a_job(
    python: Callable[..., Job], call: Callable[..., Any], renter: Renter, folder: Path
) -> None:
    """As with `clore stop`, the machine is cancelled; for an ended job the call says so."""
    job = python("sleep 600", gpu="RTX", rent=MACHINE, folder=folder, detach=True)
    stopped = call("stop", job.id)
    assert (stopped.state, stopped.cancelled) == ("stopped", True)
    said: list[str] = []
    assert call("stop", job.id, on_message=said.append) == stopped
    assert said == [f"Job {job.id} has already ended (stopped)."]
    assert running(renter) == []
    with pytest.raises(NotFoundError, match="There is no job 99"):
        call("stop", 99)


@mostly("blocking", "async")
def test_python_replaces_a_lost_machine(
    python: Callable[..., Job], renter: Renter, folder: Path
) -> None:
    """A lost machine is replaced, within a cost limit that covers all machines."""
    renter.fault("create_order", "host_dies", delay_s=8.0)
    job = python(
        "[ ! -e o ] || exit 4; mkdir o; touch o/x; sleep 600",
        gpu="RTX", rent={**MACHINE, "max_cost_usd": 9}, folder=folder, outputs=["o"],
        retry_on_host_loss=True, lost_after_s=3, fetch_every_s=0.2,
    )  # fmt: skip
    assert (job.code, job.state) == (4, "ended")
    first, last = ledger_of(renter).intents()
    assert first.server_id != last.server_id
    assert (last.max_cost_usd or 9) < 9
    assert running(renter) == []


def test_python_refuses_contradictory_options(
    python: Callable[..., Job], renter: Renter, folder: Path
) -> None:
    """Nothing is rented and no job is recorded."""
    for options, said in (
        ({}, "Give order_id, or what to rent"),
        ({"order_id": 7, "gpu": "RTX"}, "can't be combined with order_id"),
        ({"order_id": 7, "retry_on_host_loss": True}, "can't be combined with order_id"),
        ({"gpu": "RTX", "lost_after_s": 0}, "must be above 0"),
        ({"gpu": "RTX", "max_output": "much"}, "max_output"),
        ({"gpu": "RTX", "rent": {"max_price_usd": -1}}, "above 0"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            python("true", folder=folder, **options)
    assert renter("jobs", "--json").data == []
    assert renter.orders() == []
