"""Check that flows do no I/O: for files, the database and locks they yield a step (`local`).

An audit hook sees each open file, lock and program. If a flow or a coroutine of the SDK does the
I/O itself, and not its driver, the test fails; so does a command that a test runs. Exempt are
generators that are not flows (no driver runs them), imports, callbacks of a test or the command
line, and a flow that is closed: it takes no more steps.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from clore_ai._state.store import Store

if TYPE_CHECKING:
    from types import FrameType

_EVENTS = frozenset(
    (
        "open", "fcntl.flock", "sqlite3.connect", "subprocess.Popen", "os.mkdir", "os.rename",
        "os.remove", "os.rmdir", "os.scandir", "os.listdir", "shutil.rmtree", "glob.glob",
    )
)  # fmt: skip
_SDK = ("clore_ai.rental", "clore_ai.jobs", "clore_ai._api", "clore_ai._async", "clore_ai._rental")
_DRIVERS = ("clore_ai._io.", "by_hand")
_NOT_MEANT = (
    "importlib", "_frozen_importlib", "linecache", "traceback", "_pytest", "asyncio.sub",
    "test_", "tests.", "conftest", "clore_ai.cli.",
)  # fmt: skip
_GENERATORS = inspect.CO_GENERATOR
_COROUTINES = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def flow_above(frame: FrameType | None) -> str | None:
    """The flow or coroutine that does I/O itself, or None."""
    if isinstance(sys.exc_info()[1], GeneratorExit):
        return None
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name.startswith((*_DRIVERS, *_NOT_MEANT)):
            return None
        kind = frame.f_code.co_flags
        if name.startswith(_SDK) and (
            kind & _COROUTINES or (kind & _GENERATORS and _is_driven(frame))
        ):
            return f"{name}.{frame.f_code.co_name}, line {frame.f_lineno}"
        frame = frame.f_back
    return None


def _is_driven(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_flags & _GENERATORS:
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__", "").startswith(_DRIVERS)


def _refuse(what: str) -> None:
    flow = flow_above(sys._getframe(2))
    if flow is not None:
        raise AssertionError(f"{flow} does I/O ({what}): make it a step with local(…)")


def _audit(event: str, _args: tuple[Any, ...]) -> None:
    if event in _EVENTS:
        _refuse(event)


def watch() -> None:
    """Make every flow that does I/O in this process fail from now on."""
    run = Store.run

    def checked(self: Store, do: Any) -> Any:
        _refuse("the store")
        return run(self, do)

    Store.run = checked  # type: ignore[method-assign]
    sys.addaudithook(_audit)
