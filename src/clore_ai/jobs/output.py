"""Where a job's output goes: to its log in the state folder, and to its listeners.

`size` counts the bytes taken so far; the next connection continues from there, so that nothing is
lost or doubled. If a destination fails (a full disk, a closed pipe), that is reported once, and the
output goes only to the other one. Once the log has failed, nothing can resume from it later.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self


MOST_KEPT = 1 << 30
"""The most bytes of a log: a machine may write without end, and this disk is finite."""


class Output:
    """Appends to `log`, and passes on to `show`, which may block and may raise `OSError`.

    Args:
        log: the file, kept private; new output is appended. It holds `most` bytes at most.
        show: None if there is no listener.
        on_message: called with a sentence if either fails.
    """

    def __init__(
        self,
        log: Path,
        show: Callable[[bytes], object] | None = None,
        on_message: Callable[[str], object] = lambda _message: None,
        *,
        most: int = MOST_KEPT,
    ) -> None:
        self._show, self._on_message, self._log = show, on_message, log
        self._most = most
        self._file: int | None = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.size = os.fstat(self._file).st_size
        self.unseen = False
        """Was some of the output not shown?"""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the log."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    async def take(self, piece: bytes) -> None:
        """Keep a piece of the output, and show it."""
        self._keep(piece)
        self.size += len(piece)
        if self._show is not None:
            loop = asyncio.get_running_loop()
            # Shielded: a stop in the middle of a write must not write the piece again.
            showing = loop.run_in_executor(None, self._show, piece)
            try:
                await asyncio.shield(showing)
            except asyncio.CancelledError:
                await asyncio.wait({showing}, timeout=1)
                raise
            except OSError as exc:
                self._show, self.unseen = None, True
                if not isinstance(exc, BrokenPipeError):
                    self._on_message(
                        f"The output can't be written here ({exc.strerror}); the job "
                        f"keeps running, and its output is kept in {self._log}."
                    )

    def _keep(self, piece: bytes) -> None:
        if self._file is None:
            return
        left = memoryview(piece)[: max(0, self._most - self.size)]
        is_full = len(left) < len(piece)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as exc:
            self.close()
            self._on_message(
                f"{self._log} can't be written ({exc.strerror}); the job keeps running."
            )
            return
        if is_full:
            self.close()
            self._on_message(
                f"The job has written more than {self._most >> 20:,} MiB; the rest is shown but "
                f"not kept in {self._log}."
            )
