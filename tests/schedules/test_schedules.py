"""A short round of random schedules of faults and stops: no order doubled, lost or misreported.

``make soak`` plays 20,000; ``python -m tests.schedules --runs 1 --seed N`` replays one.
"""

from __future__ import annotations

from . import report
from .plan import CREATE_FAULTS, FACES, ORDER_FAULTS, READ_FAULTS, STOPS, draw
from .run import VERDICTS

RUNS = 9
SOAK = 2000
"""The number that `make soak` plays at a time."""


def test_every_fault_meets_every_client_and_stop() -> None:
    """A round of `make soak` leaves out no combination."""
    plans = [draw(seed) for seed in range(SOAK)]
    met = {
        (plan.face, fault["endpoint"], fault["kind"], plan.stop)
        for plan in plans
        for fault in plan.faults
    }
    stops = {"async": (*STOPS, None), "sync": ("kill", "interrupt", None)}
    for face in FACES:
        for stop in stops.get(face, stops["sync"]):
            for kind in (*CREATE_FAULTS, *ORDER_FAULTS):
                assert (face, "create_order", kind, stop) in met
            for kind in READ_FAULTS:
                assert (face, "my_orders", kind, stop) in met
                assert (face, "cancel_order", kind, stop) in met


def test_random_schedules() -> None:
    """All verdicts are clean, and most schedules did rent a server."""
    found = report.found("tests.schedules", runs=RUNS, at_once=8)
    assert {kind: found[kind] for kind in VERDICTS} == dict.fromkeys(VERDICTS, 0), found["wrong"]
    assert found["runs"] == RUNS
    assert found["orders"] > RUNS / 3
