"""One pace for one key: reserved times keep their distance (004, Rate Limiter)."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clore_ai import RateLimiter
from clore_ai.rate_limiter import MARGIN

GAP = 1 + MARGIN


class Time:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def limiter(**options: float) -> tuple[RateLimiter, Time]:
    clock = Time()
    return RateLimiter(**options, clock=clock), clock


def test_documented_names_and_defaults():
    """004: `requests_per_second`, `create_order_delay`, `min_interval`."""
    plain = RateLimiter()
    assert (plain.min_interval, plain.create_order_delay) == (1.0, 5.0)
    assert RateLimiter(requests_per_second=2, create_order_delay=7).min_interval == 0.5
    for bad in ({"requests_per_second": 0}, {"create_order_delay": -1}):
        with pytest.raises(ValueError, match="above 0"):
            RateLimiter(**bad)


def test_a_faster_pace_is_one_for_create_order_too():
    """Who may send more than the service's 1 a second has a marketplace that allows it."""
    assert RateLimiter.at_pace(100).create_order_delay == 0.05
    assert RateLimiter.at_pace(0.5).create_order_delay == 5.0


def test_the_first_goes_at_once_and_the_rest_in_steps():
    """One request a second, with a margin: the service counts arrivals (api.md, 1)."""
    pace, _ = limiter()
    assert [pace.reserve() for _ in range(4)] == pytest.approx([100 + n * GAP for n in range(4)])


def test_an_idle_limiter_owes_nothing():
    """After a pause the next goes at once, and only one of them."""
    pace, clock = limiter()
    pace.reserve()
    clock.now = 200
    assert [pace.reserve(), pace.reserve()] == pytest.approx([200, 200 + GAP])


def test_create_order_waits_longer_and_holds_up_nobody():
    """5 s between two of them; what fits before the second goes before it."""
    pace, _ = limiter()
    first = pace.reserve(is_create_order=True)
    second = pace.reserve(is_create_order=True)
    assert second - first == pytest.approx(5 * GAP)
    assert pace.reserve() == pytest.approx(first + GAP)
    third = pace.reserve(is_create_order=True)
    assert third - second == pytest.approx(5 * GAP)


def test_both_attributes_may_be_changed_at_any_time():
    """004's adjustment: 0.5 requests a second, 10 s between two orders."""
    pace, clock = limiter()
    pace.reserve(is_create_order=True)
    pace.sent()
    clock.now += 1.5
    pace.min_interval, pace.create_order_delay = 2.0, 10.0
    assert pace.reserve() == pytest.approx(100 + 2 * GAP)
    assert pace.reserve(is_create_order=True) == pytest.approx(100 + 10 * GAP)


def test_zero_means_no_pace():
    """For a marketplace without limits."""
    pace, _ = limiter()
    pace.min_interval = pace.create_order_delay = 0
    assert {pace.reserve(is_create_order=n % 2 == 0) for n in range(10)} == {100.0}


def test_a_backoff_holds_everybody():
    """What was reserved before it is given up and reserved anew behind it."""
    pace, clock = limiter()
    at = pace.reserve()
    pace.set_backoff(4)
    assert not pace.confirm(at)
    again = pace.reserve()
    assert again == pytest.approx(104)
    assert pace.reserve() == pytest.approx(104 + GAP)
    clock.now = again
    assert pace.confirm(again)
    pace.set_backoff(4)
    pace.set_backoff(1)  # the longer one counts
    assert pace.reserve() == pytest.approx(108)


def test_a_request_that_went_out_late_moves_the_next():
    """The first on a connection opens it first; the second would arrive close behind it."""
    pace, clock = limiter()
    first, second = pace.reserve(), pace.reserve()
    assert pace.confirm(first)
    clock.now += 0.5
    pace.sent()
    clock.now = second
    assert not pace.confirm(second)
    assert pace.reserve() == pytest.approx(100.5 + GAP)


def test_a_late_request_shifts_the_queue_and_sends_nobody_to_its_end():
    """Each of those behind it waits as much longer, in the order in which they came."""
    pace, clock = limiter()
    times = [pace.reserve() for _ in range(4)]
    assert pace.confirm(times[0])
    clock.now += 0.5
    pace.sent()
    for number in (1, 2, 3):
        clock.now = times[number]
        assert not pace.confirm(times[number])
        clock.now = again = pace.reserve()
        assert again == pytest.approx(times[number] + 0.5)
        assert pace.confirm(again)


def test_a_create_order_given_up_leaves_the_one_before_it_in_mind():
    """5 s from the last that was sent, whichever reserved times have been freed meanwhile."""
    pace, clock = limiter()
    pace.reserve(is_create_order=True)
    sent = pace.reserve(is_create_order=True)
    later = pace.reserve(is_create_order=True)
    clock.now = sent + 0.5
    last = pace.reserve(is_create_order=True)
    pace.give_up(later)
    pace.give_up(last)
    assert pace.reserve(is_create_order=True) == pytest.approx(sent + 5 * GAP)


def test_a_time_given_up_is_free_again():
    """Cancelled waits leave no ghosts behind which the next request stands."""
    pace, _ = limiter()
    ghosts = [pace.reserve() for _ in range(100)]
    for at in ghosts:
        pace.give_up(at)
    assert pace.reserve() == 100
    first = pace.reserve(is_create_order=True)
    pace.give_up(first)
    assert pace.reserve(is_create_order=True) == pytest.approx(first)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["any", "create", "give up", "late", "backoff", "pass"]),
            st.floats(0, 12),
            st.integers(0, 30),
        ),
        max_size=40,
    )
)
def test_reserved_times_keep_their_distance(steps):
    """Whatever is reserved, given up, held back or late: two sends are never too close."""
    pace, clock = limiter()
    held: dict[float, bool] = {}
    not_before = 0.0
    for what, seconds, which in steps:
        if what in ("any", "create"):
            at = pace.reserve(is_create_order=what == "create")
            assert at >= max(clock.now, not_before)
            assert at not in held
            held[at] = what == "create"
        elif what == "give up" and held:
            at = sorted(held)[which % len(held)]
            if at > clock.now:
                pace.give_up(at)
                del held[at]
        elif what == "backoff":
            pace.set_backoff(seconds)
            not_before = max(not_before, clock.now + seconds)
            # All that waits will ask anew.
            for at in [at for at in held if clock.now <= at < not_before]:
                clock.now = max(clock.now, at)
                if pace.confirm(at):
                    continue
                del held[at]
        elif what == "pass":
            clock.now += seconds
    times = sorted(held)
    creates = [at for at in times if held[at]]
    assert all(b - a >= GAP - 1e-9 for a, b in zip(times, times[1:]))
    assert all(b - a >= 5 * GAP - 1e-9 for a, b in zip(creates, creates[1:]))


def test_threads_share_one_pace():
    """`wait` blocks its own thread only, and each gets a time of its own."""
    pace = RateLimiter(requests_per_second=100)
    went: list[float] = []

    def one() -> None:
        pace.wait()
        went.append(time.monotonic())

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(went) - min(went) >= 19 * 0.0108 * 0.9


def test_tasks_share_one_pace_and_cancelled_ones_leave_it():
    """`wait_async` never blocks the loop; a hundred cancelled tasks hold up nobody."""
    pace = RateLimiter(requests_per_second=1)

    async def main() -> float:
        tasks = [asyncio.ensure_future(pace.wait_async()) for _ in range(100)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return pace.reserve() - time.monotonic()

    assert asyncio.run(main()) <= GAP
