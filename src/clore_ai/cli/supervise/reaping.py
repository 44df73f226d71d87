"""Prints the events of `client.reap`, for `clore reap` and the background keeper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from clore_ai.cli import errors, output
from clore_ai.cli.supervise import cancelling

if TYPE_CHECKING:
    from clore_ai.jobs.reap.reaper import ReapEvent
    from clore_ai.rental.orders.cancel import Cancelling

_FAILED = 1


class Reporter:
    """Prints each event; `on_line` receives those that ``--json`` reports."""

    def __init__(
        self, on_line: Callable[[dict[str, Any]], object] = lambda _line: None, *, as_json: bool
    ) -> None:
        self._on_line, self._as_json = on_line, as_json
        self._last: ReapEvent | None = None
        self.code = 0
        """The worst exit code so far."""

    def __call__(self, event: ReapEvent) -> None:
        """Print an event."""
        self._last = event
        if event.cancelling is not None and event.what != "ending":
            cancelling.show(event.cancelling)
            self.code = max(self.code, failure(event.cancelling, as_json=self._as_json))
        elif event.what != "job":
            output.note(f"{event.message} Going on." if event.what == "trouble" else event.message)
        if event.what == "unsettled":
            self.code = max(self.code, _FAILED)
        if event.what not in ("ending", "unwatched"):
            self._on_line(event.row())

    def interrupted(self) -> str:
        """The message after Ctrl-C about the order that may still run; empty if none may."""
        done = None if self._last is None else self._last.cancelling
        return "" if done is None else cancelling.interrupted([done])


def failure(done: Cancelling, *, as_json: bool) -> int:
    """Report why an order could not be ended, if so; the exit code."""
    return 0 if done.error is None or done.ended else errors.report(as_json, done.error)
