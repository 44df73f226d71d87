"""A check that is repeated beside the caller, in a thread."""

from __future__ import annotations

import threading
from typing import Callable


class Guard:
    """A thread that checks at intervals, until a check says that all is over."""

    def __init__(self, look: Callable[[], bool], every_s: float) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._keep, args=(look, every_s), name="clore-limits", daemon=True
        )
        self._thread.start()

    def _keep(self, look: Callable[[], bool], every_s: float) -> None:
        while not self._stop.wait(every_s):
            if look():
                return

    def stop(self) -> None:
        """End the thread after the current check."""
        self._stop.set()
        self._thread.join()
