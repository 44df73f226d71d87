"""A short round of random `clore run`s under faults: no unknown machine, wrong code or output.

``python -m tests.run_schedules --runs 500`` plays more, ``--runs 1 --seed N`` replays one.
"""

from __future__ import annotations

from tests.schedules import report
from tests.schedules.plan import READ_FAULTS

from .plan import CREATE_FAULTS, STOPS, draw
from .run import VERDICTS

RUNS = 3


def test_every_fault_and_stop_is_drawn() -> None:
    """500 seeds include each fault and stop, and each stop with a cut and with a lost host."""
    plans = [draw(seed) for seed in range(500)]
    met = {(fault["endpoint"], fault["kind"]) for plan in plans for fault in plan.faults}
    assert met >= {("create_order", kind) for kind in (*CREATE_FAULTS, "host_dies")}
    for endpoint in ("my_orders", "cancel_order"):
        assert met >= {(endpoint, kind) for kind in READ_FAULTS}
    assert {(p.stop, p.loses_host, bool(p.cuts_s)) for p in plans} >= {
        (stop, lost, cut)
        for stop in (*STOPS, None)
        for lost in (True, False)
        for cut in (True, False)
    }


def test_random_schedules() -> None:
    """All verdicts are clean, and output was seen."""
    found = report.found("tests.run_schedules", runs=RUNS, at_once=1)
    assert {kind: found[kind] for kind in VERDICTS} == dict.fromkeys(VERDICTS, 0), found["wrong"]
    assert found["runs"] == RUNS
    assert found["lines"] > RUNS
