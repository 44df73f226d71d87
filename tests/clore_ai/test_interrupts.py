"""What is deferred is done whole; what waits is interrupted at once."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from clore_ai._interrupts import deferred, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of a program at its start; they are in place again after each test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_comes_at_the_end_of_the_block(number: int) -> None:
    """Not before, also where blocks are in each other."""
    done: list[str] = []

    def work() -> None:
        with deferred():
            with deferred():
                signal.raise_signal(number)
                done.append("inner")
            done.append("outer")
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]


def test_it_comes_at_once_where_the_block_waits() -> None:
    """What came before it too; a second one waits until what cleans up is done."""
    done: list[str] = []

    @deferred()
    def early() -> None:
        signal.raise_signal(signal.SIGINT)
        with waiting():
            done.append("waited")

    @deferred()
    def late() -> None:
        try:
            with waiting():
                signal.raise_signal(signal.SIGINT)
                done.append("went on")
        finally:
            signal.raise_signal(signal.SIGINT)
            done.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        early()
    assert done == []
    with pytest.raises(KeyboardInterrupt):
        late()
    assert done == ["cleaned up"]


def test_a_block_in_what_waits_is_whole_too() -> None:
    """A limiter's file, say, between two pauses of a program that is waited for."""
    done: list[str] = []

    @deferred()
    def work() -> None:
        with waiting():
            with deferred():
                signal.raise_signal(signal.SIGINT)
                done.append("whole")
            done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["whole"]


def test_a_handler_that_does_not_raise_is_called_each_time() -> None:
    """With its own number; the error of the block goes on its way."""
    called: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: called.append(number))

    @deferred()
    def work() -> None:
        signal.raise_signal(signal.SIGTERM)
        assert called == []
        with waiting():
            assert called == [signal.SIGTERM]
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert called == [signal.SIGTERM] * 3
        signal.raise_signal(signal.SIGTERM)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        work()
    assert called == [signal.SIGTERM] * 4


def test_other_threads_and_ignored_signals_are_left_alone() -> None:
    """Only the main thread runs handlers; what is ignored stays ignored."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    seen: list[object] = []

    def work() -> None:
        with deferred(), waiting():
            seen.append(signal.getsignal(signal.SIGINT))

    other = threading.Thread(target=work)
    other.start()
    other.join()
    assert seen == [signal.default_int_handler]
    with deferred():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.raise_signal(signal.SIGTERM)
