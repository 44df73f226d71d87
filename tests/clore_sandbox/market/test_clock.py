"""Market time: speed, jump, freeze; it goes back only with `set_to`. Driven by hand."""

import asyncio

import pytest

from clore_sandbox.market.clock import MAX_SPEED, Clock
from clore_sandbox.market.timetable import Timetable


class World:
    def __init__(self):
        self.now = 100.0

    def clock(self, speed=1.0):
        return Clock(speed, wall=lambda: 1_000.0 + self.now, monotonic=lambda: self.now)


@pytest.fixture
def world():
    return World()


def test_the_clock_starts_at_the_worlds_time_and_keeps_its_speed(world):
    clock = world.clock(10)
    assert clock.now_ms() == 1_100_000
    world.now += 2
    assert clock.now_ms() == 1_120_000


def test_a_new_speed_counts_from_that_moment(world):
    clock = world.clock()
    world.now += 1
    clock.set_speed(100)
    assert clock.now_ms() == 1_101_000
    world.now += 1
    assert clock.now_ms() == 1_201_000


def test_a_frozen_clock_stands_still_and_can_jump(world):
    clock = world.clock()
    clock.freeze()
    world.now += 50
    clock.set_speed(2)
    assert clock.now_ms() == 1_100_000
    assert clock.world_seconds_until(1_100_001) is None
    assert clock.world_seconds_until(1_100_000) == 0
    clock.jump_to(clock.after(7))
    assert clock.now_ms() == 1_107_000
    clock.unfreeze()
    world.now += 1
    assert clock.now_ms() == 1_109_000


def test_the_real_length_of_a_market_time(world):
    clock = world.clock(4)
    assert clock.world_seconds_until(1_108_000) == 2
    assert clock.world_seconds_until(1) == 0


def test_only_set_to_goes_back(world):
    clock = world.clock(3)
    clock.jump_to(clock.after(1e6))
    clock.set_speed(5)
    clock.freeze()
    clock.set_to(42_000)
    assert (clock.now_ms(), clock.speed, clock.frozen) == (42_000, 3, False)
    world.now += 1
    clock.set_to(None)
    assert clock.now_ms() == 1_101_000


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf"), MAX_SPEED * 2])
def test_invalid_speeds(world, speed):
    with pytest.raises(ValueError, match="above 0"):
        world.clock(speed)
    clock = world.clock()
    with pytest.raises(ValueError, match="above 0"):
        clock.set_speed(speed)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e15])
def test_invalid_jumps(world, seconds):
    clock = world.clock()
    with pytest.raises(ValueError, match=r"ahead|calendar"):
        clock.jump_to(clock.after(seconds))
    assert clock.now_ms() == 1_100_000


def test_every_change_wakes_the_waiters(world):
    clock, woken = world.clock(), []
    clock.when_changed(lambda: woken.append(clock.now_ms()))
    clock.jump_to(clock.after(1))
    clock.set_speed(2)
    clock.freeze()
    clock.unfreeze()
    clock.set_to(None)
    assert len(woken) == 5


class TestJumpsOfTheTimetable:
    """Events within a jump happen in order, each at its own time."""

    def run(self, world, fill, seconds=100):
        done = []

        async def main():
            clock = world.clock()
            table = Timetable(clock)

            def note(name, after=None):
                async def action():
                    seen = clock.now_ms() - 1_100_000
                    await asyncio.sleep(0)
                    done.append((name, seen))
                    if after is not None:
                        after()

                return action

            fill(table, note)
            await table.jump(seconds)
            done.append(("jumped", clock.now_ms() - 1_100_000))
            await table.stop()

        asyncio.run(main())
        return done

    def test_each_event_happens_at_its_time(self, world):
        def fill(table, note):
            table.at(1_130_000, note("b"), in_a_jump="wait")
            table.at(1_110_000, note("a"))
            table.at(1_300_000, note("never"))
            table.at(1_105_000, note("bill"), in_a_jump="pass_over")

        assert self.run(world, fill) == [
            ("a", 10_000),
            ("b", 30_000),
            ("bill", 100_000),
            ("jumped", 100_000),
        ]

    def test_an_event_may_schedule_more(self, world):
        def fill(table, note):
            second = note("second")
            first = note("first", lambda: table.at(1_120_000, second, in_a_jump="wait"))
            table.at(1_110_000, first, in_a_jump="wait")

        assert self.run(world, fill) == [
            ("first", 10_000),
            ("second", 20_000),
            ("jumped", 100_000),
        ]

    def test_a_failing_event_does_not_stop_time(self, world, caplog):
        async def fail():
            raise OSError("no")

        def fill(table, note):
            table.at(1_110_000, fail, in_a_jump="wait")
            table.at(1_120_000, note("next"))

        assert self.run(world, fill) == [("next", 20_000), ("jumped", 100_000)]
        assert "scheduled action of the marketplace failed" in caplog.text


def test_a_held_timetable_runs_and_starts_nothing(world):
    """While the state is replaced, work begun for the old state cannot schedule for the new one."""
    done = []

    async def main():
        clock = world.clock()
        table = Timetable(clock)
        begun, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow():
            begun.set()
            await go.wait()
            table.at(clock.now_ms(), again)

        async def again():
            done.append("of the old state")

        async def new():
            done.append("of the new state")
            ended.set()

        table.start()
        table.at(clock.now_ms(), slow)
        await begun.wait()
        asyncio.get_running_loop().call_soon(go.set)
        async with table.held():
            table.clear()
            table.at(clock.now_ms(), new)
            clock.jump_to(clock.after(1))
            for _ in range(20):  # more turns of the loop than a start needs
                await asyncio.sleep(0)
            assert done == []
        await ended.wait()
        await table.stop()

    asyncio.run(asyncio.wait_for(main(), 20))
    assert done == ["of the new state"]
