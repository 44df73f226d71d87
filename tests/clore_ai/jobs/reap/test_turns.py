"""Which process ends an order at its limit: that of its job, the caller, or none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from clore_ai import CloreAI
from clore_ai.jobs import Jobs
from clore_ai.jobs.reap import turns as limit_turns
from clore_ai.models.records import Intent
from clore_ai.rental.limits.expiry import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORDER = 7


@pytest.fixture
def client(tmp_path: Path) -> Iterator[CloreAI]:
    with CloreAI("a-key", "http://127.0.0.1:9", state=tmp_path) as made:
        yield made


@pytest.fixture
def limit(client: CloreAI) -> Limit:
    """An order whose lease has ended."""
    now, ledger = time.time(), client.session.ledger
    intent = Intent(5, "on-demand", "bitcoin", "image", ends_at=now - 1)
    ledger.open(intent)
    ledger.update(intent, state="created", order_id=ORDER, started_at=now - 60)
    return Limit(intent, "lease", -1.0, 60.0, None)


def test_the_caller_checks_at_intervals(client: CloreAI, limit: Limit) -> None:
    """It checks an order once in 20 s, but not one that another command has just extended."""
    turns = limit_turns.Turns(client.session)
    assert turns.take(limit)
    assert not turns.take(limit)
    assert set(turns.tried) == {ORDER}
    stored = client.session.ledger.by_order(ORDER)
    assert stored is not None
    client.session.ledger.update(stored, ends_at=time.time() + 60)
    assert not limit_turns.Turns(client.session).take(limit)


def test_the_process_of_a_job_ends_its_order(client: CloreAI, limit: Limit) -> None:
    """Other callers only report the limit while that process watches the job."""
    jobs = Jobs.of(client.session)
    facts = {"order_id": ORDER, "command": ["x"], "folder": "/", "work": "work/w"}
    job = jobs.add({**facts, "cancels": True})
    job.state = "running"
    jobs.save(job)
    with jobs.hold(job.id):
        assert not limit_turns.Turns(client.session).take(limit)
        assert limit_turns.Turns(client.session, ends=False).take(limit)
        assert limit_turns.unkept(client.session, jobs) == []


def test_orders_that_no_process_watches(client: CloreAI, limit: Limit) -> None:
    """An order with a limit is one; an order whose bid a command keeps is not."""
    session = client.session
    assert limit_turns.unkept(session, Jobs.of(session)) == [limit.intent.order_id]
    lock = session.ledger.lock(f"spot {ORDER}")
    assert lock.try_acquire()
    assert limit_turns.unkept(session, Jobs.of(session)) == []
    lock.release()
