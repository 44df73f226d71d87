"""A stop interrupts a step that waits; later stops spare a step that changes something."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Callable

import pytest
from waiting import until

from clore_ai import CloreAI
from clore_ai._api import endpoints
from clore_ai._api.steps import Clock, Exec, Flow, Rules, Sleep, request
from clore_ai._io import stops
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_S = 60.0


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Python's default handler of Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def client() -> Iterator[CloreAI]:
    with CloreAI("key", "http://127.0.0.1:9/v1") as made:
        yield made


class Said(list[str]):
    """The events, in order."""

    def press_after(self, *words: str) -> threading.Thread:
        """Press Ctrl-C each time that the next of these events happens."""

        def press() -> None:
            for word in words:
                until(lambda word=word: word in self, word, 30)  # type: ignore[misc]
                time.sleep(0.1)  # time to get from the event to the step that waits
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=press, daemon=True)
        thread.start()
        return thread


def flow_of(said: Said, first: Any, *cleaning: Any) -> Flow[None]:
    """A flow that does `first`, and then its cleanup."""
    try:
        said.append("first")
        yield first
    except BaseException as exc:
        said.append(type(exc).__name__)
        for number, step in enumerate(cleaning):
            said.append(f"cleaning {number}")
            yield step
        said.append("clean")
        raise


@pytest.mark.parametrize("step", [Sleep(LONG_S), Exec(("sleep", "60"))])
def test_the_first_stop_ends_the_step_and_the_flow_cleans_up(client: CloreAI, step: Any) -> None:
    said = Said()
    presser = said.press_after("first")
    with pytest.raises(KeyboardInterrupt):
        client.drive(flow_of(said, step, Sleep(0.01), Exec(("true",))))
    assert said == ["first", "KeyboardInterrupt", "cleaning 0", "cleaning 1", "clean"]
    presser.join()


def test_the_second_stop_ends_a_wait_of_the_cleanup(client: CloreAI) -> None:
    said = Said()
    presser = said.press_after("first", "cleaning 0")
    with pytest.raises(KeyboardInterrupt):
        client.drive(flow_of(said, Sleep(LONG_S), Sleep(LONG_S), Sleep(LONG_S)))
    assert said == ["first", "KeyboardInterrupt", "cleaning 0"]
    presser.join()


def test_the_second_stop_does_not_interrupt_a_change() -> None:
    """A cancel gets its answer; later steps are not waited for."""
    answered: list[Any] = []
    said = Said()

    def flow() -> Flow[None]:
        try:
            said.append("first")
            yield Sleep(LONG_S)
        finally:
            said.append("cancelling")
            rules = Rules()
            answered.append((yield from request(endpoints.cancel_order(order.id), rules)))
            yield Sleep(LONG_S)
            said.append("never")

    with Sandbox(provision=False, limits=False) as market:
        client = CloreAI(market.api_key, market.base_url)
        client.rate_limiter.min_interval = client.rate_limiter.create_order_delay = 0
        server = next(s.id for s in client.marketplace() if "bitcoin" in (s.allowed_coins or []))
        order = client.create_order(server, "i", "on-demand", "bitcoin")
        market.fault("cancel_order", "late", delay_s=2)
        presser = said.press_after("first", "cancelling")
        with pytest.raises(KeyboardInterrupt):
            client.drive(flow())
        presser.join()
        assert answered == [{"code": 0}]
        assert said == ["first", "cancelling"]
        client.close()


def test_after_the_third_stop_nothing_is_waited_for(client: CloreAI) -> None:
    """This includes a step that ignores stops."""
    said, held = Said(), threading.Event()

    def work(_: stops.Stops) -> None:
        said.append("begun")
        held.wait(LONG_S)

    presser = said.press_after("begun", "begun", "begun")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stops.run(work)
    assert time.monotonic() - began < LONG_S / 2
    held.set()
    presser.join()


def test_a_late_stop_is_raised(client: CloreAI) -> None:
    """Finished work stays done, and the interrupt is not lost."""
    done: list[str] = []

    def flow() -> Flow[str]:
        yield Clock()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)  # no step: the main thread has it long before the end
        done.append("done")
        return "done"

    with pytest.raises(KeyboardInterrupt):
        client.drive(flow())
    assert done == ["done"]


def test_an_exception_of_a_signal_handler_fails_the_step(client: CloreAI) -> None:
    """For example a time limit of the program; the flow may go on from there."""

    class LateError(Exception):
        """An error of the program."""

    def late(*_: object) -> None:
        raise LateError

    def flow() -> Flow[str]:
        try:
            yield Sleep(LONG_S)
        except LateError:
            return "went on"
        return "slept"

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        assert client.drive(flow()) == "went on"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_nested_flow_is_stopped_too(client: CloreAI) -> None:
    """A callback may call the client and so run such a flow."""
    said = Said()

    def outer() -> Flow[None]:
        yield Clock()
        client.drive(flow_of(said, Sleep(LONG_S)))

    presser = said.press_after("first")
    with pytest.raises(KeyboardInterrupt):
        client.drive(outer())
    assert said == ["first", "KeyboardInterrupt", "clean"]
    presser.join()


@pytest.mark.parametrize("where", ["the main thread", "another"])
def test_context_and_errors_are_the_caller_s(client: CloreAI, where: str) -> None:
    """Context variables and the exception itself; other threads do their own work."""
    threads: list[threading.Thread] = []

    def flow() -> Flow[None]:
        yield Clock()
        threads.append(threading.current_thread())
        raise KeyError("mine")

    def call() -> None:
        with pytest.raises(KeyError, match="mine"):
            client.drive(flow())
        assert (threads[0] is threading.current_thread()) == (where == "another")

    _in(where, call)


def _in(where: str, call: Callable[[], None]) -> None:
    if where == "the main thread":
        call()
        return
    failed: list[BaseException] = []

    def body() -> None:
        try:
            call()
        except BaseException as exc:  # noqa: BLE001 - raised below
            failed.append(exc)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert failed == []
