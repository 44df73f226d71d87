"""The signals that ask a command to end: SIGTERM and a closed terminal do what Ctrl-C does.

`clore_ai._io.stops` says what a flow makes of that.
"""

from __future__ import annotations

import signal

# SIGHUP is not everywhere.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGTERM", "SIGINT") if hasattr(signal, name)
)


def interrupt_by_any() -> None:
    """Each raises `KeyboardInterrupt` from here on, but for a SIGHUP that `nohup` ignores."""
    for number in SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
