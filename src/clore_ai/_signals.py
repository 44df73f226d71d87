"""The signals of the command line, which alone installs them: SIGTERM and SIGHUP act as Ctrl-C.

`clore_ai._io.stops` describes how a flow stops. While Python imports a module, a signal waits: an
exception there may be swallowed and leave the import lock held for ever, and the thread that
performs the flow would wait for it.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

# Not every system has SIGHUP.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGTERM", "SIGINT") if hasattr(signal, name)
)
INTERRUPTED = 130
"""The exit code of a command that a signal ended."""
_AGAIN_S = 0.02
_WAITS = hasattr(signal, "setitimer")  # Windows has no timer


def wait_for_imports() -> None:
    """From now on, Ctrl-C waits while a module is imported; an ignored SIGINT stays ignored."""
    if _WAITS:
        signal.signal(signal.SIGALRM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def interrupt_by_any() -> None:
    """From now on, each signal raises `KeyboardInterrupt`, except a SIGHUP that `nohup` ignores."""
    wait_for_imports()
    for number in SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


def interrupt(_number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`, once no module is being imported."""
    if _WAITS and _imports(frame):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        return
    raise KeyboardInterrupt


@contextmanager
def deferred() -> Generator[None]:
    """Defer the signals until the block has ended; then one raises `KeyboardInterrupt`."""
    pressed: list[int] = []
    before = {n: signal.signal(n, lambda number, _: pressed.append(number)) for n in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if pressed:
        raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
