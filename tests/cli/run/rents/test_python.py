"""`client.run` of both clients rents, follows, stops and replaces as `clore run` does."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

import pytest
from tests.cli.driver import shared_forks
from tests.cli.run.rents.conftest import ledger_of, running
from waiting import until

from clore_ai import AsyncCloreAI, CloreAI, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.driver import Renter

    from clore_ai.jobs import Job


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
    assert any(f"Created order {job.order_id}" in each for each in said), said
    assert any(f"Job {job.id} ended with 4" in each for each in said), said
    assert any(f"Cancelled: order {job.order_id}" in each for each in said), said
    assert running(renter) == []


@pytest.fixture
def forking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Background processes are forks."""
    monkeypatch.setattr(sys, "executable", shared_forks().python)


@mostly("async", "blocking")
def test_python_detaches(python: Callable[..., Job], renter: Renter, folder: Path) -> None:
    """`detach` returns once the job runs; a background process cancels the machine."""
    job = python("sleep 1; exit 3", gpu="RTX", rent=MACHINE, folder=folder, detach=True)
    assert job.state == "running"
    until(lambda: renter("jobs", "--json").data[0]["cancelled"], "the end of the job", 60)
    assert renter("jobs", "--json").data[0]["exit"] == 3
    assert running(renter) == []


@pytest.mark.usefixtures("forking")
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


@pytest.mark.usefixtures("forking")
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
