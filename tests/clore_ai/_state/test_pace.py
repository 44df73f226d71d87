"""The next request's time, on a clock that the test sets (004, Rate Limiter)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clore_ai._state.pace import HORIZON_S, MARGIN, Gaps, Pace
from clore_ai._state.store import Store

GAP = 1 + MARGIN
GAPS = Gaps(1.0, 5.0)


@dataclass(eq=False)
class Waiter:
    """A thread or a task that wants to send."""

    process: str
    create: bool
    back: float
    """The time of its next look."""


class Sim:
    """Processes that share a store; each looks again when its last look said."""

    def __init__(self, gaps: Gaps = GAPS) -> None:
        self.store, self.gaps, self.now = Store(), gaps, 100.0
        self.processes: dict[str, Pace] = {}
        self.waiting: list[Waiter] = []
        self.stopped: set[str] = set()
        self.went: list[tuple[float, Waiter]] = []
        self.late_s = 0.0

    def clock(self) -> float:
        return self.now

    def of(self, process: str) -> Pace:
        return self.processes.setdefault(process, Pace(self.store, "key"))

    def want(self, process: str = "a", create: bool = False) -> Waiter:
        waiter = Waiter(process, create, self.now)
        self.waiting.append(waiter)
        self.look(waiter)
        return waiter

    def look(self, waiter: Waiter) -> None:
        pace = self.of(waiter.process)
        pause = pace.look(self.gaps, self.clock, is_create_order=waiter.create)
        waiter.back = self.now + pause
        if not pause:
            self.waiting.remove(waiter)
            self.went.append((self.now, waiter))

    def run(self, seconds: float = math.inf) -> list[float]:
        """Let time pass until none waits, or for so many seconds; return when requests went."""
        until = self.now + seconds
        while awake := [w for w in self.waiting if w.process not in self.stopped]:
            waiter = min(awake, key=lambda w: w.back)
            if waiter.back > until:
                break
            self.now = max(self.now, waiter.back + self.late_s)
            self.look(waiter)
        self.now = max(self.now, until if until < math.inf else self.now)
        return [at for at, _ in self.went]

    def order(self) -> list[Waiter]:
        return [waiter for _, waiter in self.went]

    def hold(self, seconds: float) -> None:
        self.of("a").hold(self.gaps, self.clock, seconds)


def distances(sim: Sim) -> list[float]:
    times = [at for at, _ in sim.went]
    return [b - a for a, b in zip(times, times[1:])]


def test_the_first_goes_at_once_and_the_rest_follow_evenly():
    """One request a second, plus a margin: the service counts arrivals (service.md, 1)."""
    sim = Sim()
    for _ in range(4):
        sim.want()
    assert sim.run() == pytest.approx([100 + n * GAP for n in range(4)])


def test_idle_time_is_not_saved_up():
    """After a pause one request goes at once, and only one."""
    sim = Sim()
    sim.want()
    sim.now = 200
    sim.want()
    sim.want()
    assert sim.run()[1:] == pytest.approx([200, 200 + GAP])


@pytest.mark.parametrize("processes", ["aaaa", "abcd"])
def test_create_order_waits_longer_and_delays_no_other(processes):
    """5 s lie between two of them; other requests go in between."""
    sim = Sim()
    first, second = (sim.want(name, create=True) for name in processes[:2])
    third, other = sim.want(processes[2], create=True), sim.want(processes[3])
    times = sim.run()
    assert sim.order()[:2] == [first, other]
    assert set(sim.order()[2:]) == {second, third}
    assert times == pytest.approx([100, 100 + GAP, 100 + 5 * GAP, 100 + 10 * GAP])


def test_the_gaps_may_change_at_any_time():
    """004's adjustment sets 0.5 requests a second and 10 s between two orders."""
    sim = Sim(Gaps(2.0, 10.0))
    sim.want(create=True)
    sim.want()
    sim.want(create=True)
    assert sim.run() == pytest.approx([100, 100 + 2 * GAP, 100 + 10 * GAP])


def test_no_gap_means_no_pace():
    """A marketplace without limits needs none."""
    sim = Sim(Gaps(0, 0))
    for n in range(10):
        sim.want(create=n % 2 == 0)
    assert sim.run(0) == [100.0] * 10


@pytest.mark.parametrize("processes", ["aaa", "abc"])
def test_a_backoff_delays_all_requests(processes):
    """No request goes before its end, reserved or not; the longer of two backoffs counts."""
    sim = Sim()
    sim.want()
    for name in processes:
        sim.want(name)
    sim.hold(8)
    sim.hold(5)
    assert sim.run()[1:] == pytest.approx([108 + n * GAP for n in range(3)])


@pytest.mark.parametrize("processes", ["aaa", "abc"])
def test_a_late_request_delays_those_behind_it(processes):
    """The first on a connection opens it; none arrives close behind it, and none queues again."""
    sim = Sim()
    first = sim.want()
    rest = [sim.want(name) for name in processes]
    sim.now += 0.5
    sim.of("a").sent(GAPS, sim.clock, is_create_order=False)
    sim.run()
    assert sim.order() == [first, *rest]
    times = [at for at, _ in sim.went]
    assert times[1] - 100.5 >= 1 + MARGIN / 2 - 1e-9
    assert min(distances(sim)) >= 1 + MARGIN / 2 - 1e-9
    assert times[-1] <= 100.5 + 3 * GAP + 1e-9


def test_small_delays_do_not_add_up():
    """If each request wakes 30 ms late, the rate stays: half the margin compensates for it."""
    sim = Sim()
    sim.late_s = 0.03
    for _ in range(100):
        sim.want()
    times = sim.run()
    assert (times[-1] - times[0]) / 99 == pytest.approx(GAP, abs=0.002)


def test_a_hundred_calls_delay_another_process_by_one_gap():
    """A process reserves one time ahead, however many of its threads wait."""
    sim = Sim()
    for _ in range(100):
        sim.want("many")
    sim.run(10)
    before = len(sim.went)
    late = [sim.want("late"), sim.want("late")]
    sim.run(5 * GAP)
    since = sim.order()[before:]
    assert since.index(late[0]) <= 1
    assert since.index(late[1]) <= 3


def test_processes_take_turns():
    """They alternate, whatever each of them wants."""
    sim = Sim()
    for name in "abc" * 7:
        sim.want(name)
    sim.run()
    served = "".join(waiter.process for waiter in sim.order())
    assert served == "abc" * 7


def test_an_abandoned_time_serves_the_next_thread():
    """A hundred cancelled waits of one process cost nothing."""
    sim = Sim()
    sim.want()
    for _ in range(100):
        sim.want()
    sim.waiting.clear()
    sim.want()
    assert sim.run() == pytest.approx([100, 100 + GAP])


def test_a_killed_process_costs_the_others_one_gap():
    """Only its one reserved time is lost, however many of its threads waited."""
    sim = Sim()
    sim.want("gone")
    for _ in range(20):
        sim.want("gone")
    sim.stopped = {"gone"}
    alive = [sim.want("alive") for _ in range(2)]
    sim.run()
    times = [at for at, waiter in sim.went if waiter in alive]
    assert times == pytest.approx([100 + 2 * GAP, 100 + 3 * GAP])


def test_a_resumed_process_keeps_its_distance_from_the_others():
    """Its reserved time has long passed; requests of others meanwhile count."""
    sim = Sim()
    sim.want("a")
    sim.want("stopped")
    sim.stopped = {"stopped"}
    for _ in range(20):
        sim.want("b")
    sim.run(10)
    sim.stopped.clear()
    sim.run()
    assert len(sim.went) == 22
    assert min(distances(sim)) >= 1 + MARGIN / 2 - 1e-9


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["any", "create", "give up", "late", "backoff", "stop", "pass"]),
            st.floats(0, 12),
            st.integers(0, 30),
        ),
        max_size=40,
    )
)
def test_all_requests_go_and_keep_their_distance(steps):
    """This holds for requests that are abandoned, held back, stopped or late."""
    sim = Sim()
    wanted = 0
    for what, seconds, which in steps:
        if what in ("any", "create"):
            sim.want("abc"[which % 3], create=what == "create")
            wanted += 1
        elif what == "give up" and sim.waiting:
            sim.waiting.pop(which % len(sim.waiting))
            wanted -= 1
        elif what == "late":
            sim.now += seconds / 10
        elif what == "backoff":
            sim.hold(seconds)
        elif what == "stop":
            sim.stopped ^= {"abc"[which % 3]}
        elif what == "pass":
            sim.run(seconds)
    sim.stopped.clear()
    times = sim.run()
    creates = [at for at, waiter in sim.went if waiter.create]
    assert len(times) == wanted
    assert all(each >= 1 + MARGIN / 2 - 1e-9 for each in distances(sim))
    assert all(b - a >= 5 * GAP - 1e-9 for a, b in zip(creates, creates[1:]))


@pytest.mark.parametrize("column", ["noted", "next", "floor", "create_order"])
def test_times_from_before_a_reboot_are_ignored(column):
    """A clock that starts at 0 again must not delay requests for days."""
    sim = Sim()
    sim.want(create=True)
    ahead = sim.now + (1 if column == "noted" else HORIZON_S + 1)
    sim.store.run(lambda db: db.execute(f"UPDATE pace SET {column} = ?", (ahead,)))
    sim.now += 0.1
    sim.want("b", create=True)
    sim.want("c")
    assert sim.run()[1:] == pytest.approx([100.1 + GAP, 100.1 + 5 * GAP])


def test_each_machine_has_a_pace_of_its_own():
    """Several machines may share a home folder, and each has its own clock."""
    sim = Sim()
    sim.want()
    sim.store.machine = "another"
    sim.now = 5.0
    sim.want("b")
    assert len(sim.went) == 2


def test_a_long_wait_for_the_store_is_not_taken_for_a_reboot():
    """Another process wrote meanwhile, with a later clock; its reservation stays."""
    sim = Sim()
    for name in "abc":
        sim.want(name)
    real = sim.store.run

    def waits(do):
        sim.store.run = real
        sim.now += 0.01
        sim.of("d").hold(GAPS, sim.clock, 0)
        return real(do)

    late = Pace(sim.store, "key")
    sim.store.run = waits
    pause = late.look(GAPS, sim.clock, is_create_order=False)
    assert sim.now + pause == pytest.approx(100 + 3 * GAP, abs=0.05)
