"""Whose turn it is, and when, by a clock that is set by hand (004, Rate Limiter)."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clore_ai._state.turns import GRACE_S, MARGIN, PIECE_S, Gaps, Pace, Ticket, dump, load

GAP = 1 + MARGIN
GAPS = Gaps(1.0, 5.0)


class Queue:
    """Everybody in it looks when they said they would; `stopped` ones do not."""

    def __init__(self, gaps: Gaps = GAPS) -> None:
        self.pace, self.gaps, self.now = Pace(), gaps, 100.0
        self.back: dict[Ticket, float] = {}
        self.stopped: set[Ticket] = set()
        self.went: list[tuple[float, Ticket]] = []

    def take(self, holder: str = "a", create: bool = False) -> Ticket:
        ticket = self.pace.take(holder, is_create_order=create)
        self._look(ticket)
        return ticket

    def _look(self, ticket: Ticket) -> None:
        pause = self.pace.look(ticket, self.gaps, self.now)
        if pause:
            self.back[ticket] = self.now + pause
        else:
            self.back.pop(ticket, None)
            self.went.append((self.now, ticket))

    def leave(self, ticket: Ticket) -> None:
        self.pace.leave(ticket)
        del self.back[ticket]

    def run(self, seconds: float = math.inf) -> list[float]:
        """Let time pass, until nobody waits or so many seconds have; when who went."""
        until = self.now + seconds
        while awake := [t for t in self.back if t not in self.stopped]:
            ticket = min(awake, key=self.back.__getitem__)
            if self.back[ticket] > until:
                break
            self.now = max(self.now, self.back[ticket])
            self._look(ticket)
        self.now = max(self.now, until if until < math.inf else self.now)
        return self.times()

    def times(self) -> list[float]:
        return [at for at, _ in self.went]

    def order(self) -> list[Ticket]:
        return [ticket for _, ticket in self.went]


def test_the_first_goes_at_once_and_the_rest_in_steps():
    """One request a second, with a margin: the service counts arrivals (service.md, 1)."""
    queue = Queue()
    for _ in range(4):
        queue.take()
    assert queue.run() == pytest.approx([100 + n * GAP for n in range(4)])


def test_an_idle_pace_owes_nothing():
    """After a pause the next goes at once, and only one of them."""
    queue = Queue()
    queue.take()
    queue.now = 200
    queue.take()
    queue.take()
    assert queue.run()[1:] == pytest.approx([200, 200 + GAP])


def test_create_order_waits_longer_and_holds_up_nobody():
    """5 s between two of them; what fits before the second goes before it."""
    queue = Queue()
    first, second = queue.take(create=True), queue.take(create=True)
    third, other = queue.take(create=True), queue.take()
    queue.run()
    assert queue.order() == [first, other, second, third]
    assert queue.times() == pytest.approx([100, 100 + GAP, 100 + 5 * GAP, 100 + 10 * GAP])


def test_the_gaps_may_change_at_any_time():
    """004's adjustment: 0.5 requests a second, 10 s between two orders."""
    queue = Queue()
    queue.take(create=True)
    queue.gaps = Gaps(2.0, 10.0)
    queue.take()
    queue.take(create=True)
    assert queue.run() == pytest.approx([100, 100 + 2 * GAP, 100 + 10 * GAP])


def test_no_gap_means_no_pace():
    """For a marketplace without limits."""
    queue = Queue(Gaps(0, 0))
    for n in range(10):
        queue.take(create=n % 2 == 0)
    assert queue.times() == [100.0] * 10


def test_a_backoff_holds_everybody_and_keeps_their_order():
    """Nothing goes before it is over, and the longer one counts."""
    queue = Queue()
    queue.take()
    waiting = [queue.take() for _ in range(3)]
    queue.pace.hold(108)
    queue.pace.hold(105)
    queue.run()
    assert queue.times()[1:] == pytest.approx([108 + n * GAP for n in range(3)])
    assert queue.order()[1:] == waiting


def test_a_request_that_goes_late_moves_all_others_along():
    """The first on a connection opens it first; nobody arrives close behind it, or queues anew."""
    queue = Queue()
    first = queue.take()
    rest = [queue.take() for _ in range(3)]
    queue.now += 0.5
    queue.pace.went(queue.now, is_create_order=False)
    queue.run()
    assert queue.order() == [first, *rest]
    assert queue.times()[1] == pytest.approx(100.5 + GAP)
    assert all(b - a >= 1 + MARGIN / 2 - 1e-9 for a, b in zip(queue.times()[1:], queue.times()[2:]))


def test_small_delays_do_not_add_up():
    """Who wakes 30 ms late each time keeps the rate: the margin's half makes up for it."""
    pace, now, went = Pace(), 100.0, []
    for _ in range(100):
        ticket = pace.take("a", is_create_order=False)
        while pause := pace.look(ticket, GAPS, now):
            now += pause + (0.03 if pause < PIECE_S else 0)
        went.append(now)
    assert (went[-1] - went[0]) / 99 == pytest.approx(GAP, abs=0.001)


def test_a_place_given_up_is_free():
    """Cancelled waits leave no ghosts behind which the next request stands."""
    queue = Queue()
    queue.take()
    for ticket in [queue.take() for _ in range(100)]:
        queue.leave(ticket)
    queue.take()
    assert queue.run() == pytest.approx([100, 100 + GAP])


def test_processes_take_turns():
    """A hundred calls of one do not hold up one of another; a process's own keep their order."""
    queue = Queue()
    many = [queue.take("many") for _ in range(100)]
    queue.run(10)
    before = len(queue.went)
    late = [queue.take("late"), queue.take("late")]
    queue.run(4 * GAP + 0.1)
    since = queue.order()[before:]
    assert since.index(late[0]) <= 1
    assert since.index(late[1]) <= 3
    queue.run()
    assert [t for t in queue.order() if t.holder == "many"] == many


def test_who_does_not_look_delays_the_others_by_an_instant():
    """Killed or stopped with twenty places: they are lost once, not waited for one by one."""
    queue = Queue()
    queue.take("gone")
    queue.stopped = {queue.take("gone") for _ in range(20)}
    alive = queue.take("alive")
    queue.run(0.1)
    queue.run()
    at = next(at for at, ticket in queue.went if ticket == alive)
    assert at <= 100 + GAP + PIECE_S + GRACE_S


def test_a_stopped_process_has_its_place_again_when_it_goes_on():
    """Its next look brings it back, before those who came after it."""
    queue = Queue()
    queue.take("a")
    stopped = queue.take("stopped")
    queue.stopped.add(stopped)
    later = [queue.take("b") for _ in range(20)]
    queue.run(10)
    assert stopped not in queue.order()
    assert stopped not in queue.pace.waiting
    done = len(queue.went)
    queue.stopped.clear()
    queue.run()
    assert queue.order()[done] == stopped
    assert queue.order()[-1] == later[-1]


@settings(max_examples=200, deadline=None)
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
def test_what_goes_keeps_its_distance_and_all_go(steps):
    """Whatever is taken, given up, held back, stopped or late."""
    queue = Queue()
    taken = 0
    for what, seconds, which in steps:
        waiting = sorted(queue.back)
        if what in ("any", "create"):
            queue.take("abc"[which % 3], create=what == "create")
            taken += 1
        elif what == "give up" and waiting:
            queue.leave(waiting[which % len(waiting)])
            taken -= 1
        elif what == "late":
            queue.now += seconds / 10
        elif what == "backoff":
            queue.pace.hold(queue.now + seconds)
        elif what == "stop":
            queue.stopped ^= {t for t in waiting if t.holder == "abc"[which % 3]}
        elif what == "pass":
            queue.run(seconds)
    queue.stopped.clear()
    queue.run()
    times = queue.times()
    creates = [at for at, ticket in queue.went if ticket.is_create_order]
    assert len(times) == taken
    assert all(b - a >= 1 + MARGIN / 2 - 1e-9 for a, b in zip(times, times[1:]))
    assert all(b - a >= 5 * GAP - 1e-9 for a, b in zip(creates, creates[1:]))


def test_what_is_written_can_be_read():
    """The same pace, with who waits."""
    queue = Queue()
    for n in range(5):
        queue.take("ab"[n % 2], create=n == 3)
    assert load(json.loads(json.dumps(dump(queue.pace))), 100.0) == queue.pace
    assert load(json.loads(json.dumps(dump(Pace()))), 100.0) == Pace()
    assert load(None, 100.0) == Pace()


def fields(**changed: object) -> dict[str, object]:
    return {**dump(Pace(round=3, number=4, due=90.0, sent=90.0, created=90.0)), **changed}


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {"waiting": []},
        fields(waiting=[[1]]),
        fields(waiting=3),
        fields(round="x"),
        fields(number=math.inf),
        fields(sent=None),
        fields(sent=100.5),
        fields(created=1e9),
        fields(due=math.nan),
        fields(not_before=1e7),
    ],
)
def test_what_is_damaged_or_from_before_a_reboot_is_not_believed(data):
    """As if one had gone just now: a clock that starts at 0 again must not hold all up for days."""
    pace = load(data, 100.0)
    assert pace == Pace(sent=100.0, created=100.0)
    ticket = pace.take("a", is_create_order=True)
    assert pace.look(ticket, GAPS, 100.0) > 0


def test_a_place_from_before_a_reboot_is_dropped():
    """Who held it is gone."""
    assert load(fields(waiting=[[1, 2, "a", False, 1e6]]), 100.0).waiting == {}
