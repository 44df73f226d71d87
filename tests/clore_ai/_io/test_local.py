"""Local work of a flow runs to its end, whatever stops the flow meanwhile."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from by_hand import Hand

from clore_ai import AsyncCloreAI
from clore_ai._api.steps import Flow, Sleep, local

if TYPE_CHECKING:
    from pathlib import Path


def _drive(flow: Flow[str], *, cancel: threading.Event, going: threading.Event) -> str:
    """The flow's result in an event loop; its task is cancelled once `cancel` is set."""

    async def main() -> str:
        async with AsyncCloreAI(api_key="key") as client:
            task = asyncio.ensure_future(client.drive(flow))
            await asyncio.to_thread(cancel.wait)
            task.cancel()
            await asyncio.sleep(0)
            going.set()
            return await task

    return asyncio.run(main())


def test_a_cancelled_task_finishes_its_work_and_stops_before_the_next_step() -> None:
    """Otherwise it would be unknown if an order was recorded."""
    cancel, going, done = threading.Event(), threading.Event(), list[str]()

    def work() -> str:
        cancel.set()
        going.wait()
        done.append("noted")
        return "noted"

    def flow() -> Flow[str]:
        done.append(f"answered: {(yield from local(work))}")
        try:
            yield Sleep(60)
        except asyncio.CancelledError:
            done.append((yield from local(str, "cleaned up")))
            raise
        return "never"

    with pytest.raises(asyncio.CancelledError):
        _drive(flow(), cancel=cancel, going=going)
    assert done == ["noted", "answered: noted", "cleaned up"]


def test_a_failure_is_raised_in_the_flow() -> None:
    """It is handled like the error of any other step."""

    def work() -> str:
        raise OSError("disk full")

    def flow() -> Flow[str]:
        try:
            return (yield from local(work))
        except OSError as exc:
            return str(exc)

    async def main() -> str:
        async with AsyncCloreAI(api_key="key") as client:
            return await client.drive(flow())

    assert asyncio.run(main()) == "disk full"


def test_a_flow_that_does_io_itself_is_detected(tmp_path: Path) -> None:
    """The guard of the tests finds it in the flow, in its callees, and in a coroutine of jobs."""
    source = """
def helper(path): path.write_text("")
def flow(path):
    helper(path)
    yield
async def coroutine(path): helper(path)
def step(path): yield from local(helper, path)
"""
    for module in ("clore_ai.rental.made_up", "clore_ai.jobs.made_up"):
        made: dict[str, Any] = {"__name__": module, "local": local}
        exec(source, made)
        file = tmp_path / "file"
        with pytest.raises(AssertionError, match="does I/O"):
            Hand().play(made["flow"](file))
        with pytest.raises(AssertionError, match="does I/O"):
            asyncio.run(made["coroutine"](file))
        assert not file.exists()
        Hand().play(made["step"](file))
        assert file.exists()
        file.unlink()
