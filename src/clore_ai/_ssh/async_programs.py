"""Runs local programs, and blocking work in threads, without blocking the event loop.

As `programs`, which imports no asyncio: the blocking client starts faster.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from clore_ai._ssh import programs

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from clore_ai._api.steps import Done, Exec

T = TypeVar("T")


async def start(
    words: tuple[str, ...],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = programs.PIPE,
    stderr: int = programs.PIPE,
) -> asyncio.subprocess.Process:
    """As `programs.start`, with streams of the event loop; the caller must call `end`."""
    # A thread: the first call runs a program to learn whether `setpriv` works.
    words = await in_thread(lambda _: programs.leashed(words))
    # Shielded: if it were cancelled midway, asyncio would end only the program itself, and wait for
    # its children.
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *words,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            limit=1 << 20,
        )
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await end(await starting)
        raise
    return process


async def end(process: asyncio.subprocess.Process) -> None:
    """End a program with all its children, and close its pipes, within about two seconds."""
    # asyncio reports an end only once no process holds the pipes.
    over = asyncio.ensure_future(process.wait())
    for how in (signal.SIGTERM, programs.KILL):
        if not over.done():
            programs.kill(process.pid, how)
            await asyncio.wait({over}, timeout=programs.LEFT_S)
    over.cancel()
    # Else its pipes stay open as long as that process lives; there is no public way.
    transport: asyncio.SubprocessTransport = vars(process)["_transport"]
    transport.close()


async def run(step: Exec) -> Done:
    """Run a program without blocking the event loop."""
    return await in_thread(lambda stopped: programs.run(step, stopped))


async def in_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """The result of blocking work in its own thread.

    After a cancellation, the function that `work` receives returns true; it has a few seconds to
    end.
    """
    stop = threading.Event()
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, failure: BaseException | None) -> None:  # noqa: ANN401 - a `T`
        if done.cancelled():
            return
        if failure is None:
            done.set_result(result)
        else:
            done.set_exception(failure)

    def body() -> None:
        result, failure = None, None
        try:
            result = work(stop.is_set)
        except BaseException as exc:  # noqa: BLE001 - raised where it is awaited
            failure = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any longer
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=body, daemon=True).start()
    try:
        result: T = await asyncio.shield(done)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({done}, timeout=3 * programs.LEFT_S)
        if done.done() and not done.cancelled():
            done.exception()  # seen
        raise
    else:
        return result


async def within(seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled after `seconds`.

    A cancellation that comes just as the work ends is raised. `asyncio.wait_for` swallows it before
    Python 3.12.

    Raises:
        asyncio.TimeoutError: it took longer.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
