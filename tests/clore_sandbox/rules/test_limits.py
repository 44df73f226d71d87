"""The rate windows, by hand: the time is passed in."""

from hypothesis import given
from hypothesis import strategies as st

from clore_sandbox.rules.limits import Limits


def test_a_call_within_a_second_of_the_last_accepted_one_is_refused():
    limits = Limits()
    assert limits.admit(1, "wallets", 0)
    assert not limits.admit(1, "my_orders", 999)
    assert limits.admit(1, "my_orders", 1000)


def test_a_refused_call_does_not_extend_the_window():
    limits = Limits()
    assert limits.admit(1, "wallets", 0)
    assert not limits.admit(1, "wallets", 900)
    assert limits.admit(1, "wallets", 1000)


def test_create_order_has_five_seconds_of_its_own():
    limits = Limits()
    assert limits.admit(1, "create_order", 0)
    assert limits.admit(1, "my_orders", 1000)
    assert not limits.admit(1, "create_order", 4999)
    assert limits.admit(1, "create_order", 5000)


def test_a_create_order_refused_by_its_window_does_not_use_the_second():
    limits = Limits()
    assert limits.admit(1, "create_order", 0)
    assert not limits.admit(1, "create_order", 2000)
    assert limits.admit(1, "wallets", 2001)


def test_keys_have_separate_windows():
    limits = Limits()
    assert limits.admit(1, "wallets", 0)
    assert limits.admit(2, "wallets", 0)


@given(st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=60))
def test_accepted_calls_are_a_second_apart_and_creations_five(gaps):
    limits, now, accepted = Limits(), 0, []
    for gap, create in gaps:
        now += gap
        if limits.admit(7, "create_order" if create else "wallets", now):
            accepted.append((now, create))
    times = [at for at, _ in accepted]
    creations = [at for at, create in accepted if create]
    assert all(b - a >= 1000 for a, b in zip(times, times[1:]))
    assert all(b - a >= 5000 for a, b in zip(creations, creations[1:]))
