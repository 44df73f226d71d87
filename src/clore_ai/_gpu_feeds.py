"""Reads the GPUs of orders, over one open SSH connection each, with the user's own ssh.

One thread per order reads the output of a loop on the machine. A connection that ends is reopened,
at the order's next host. Readings wait in a queue.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
from functools import partial
from typing import IO, TYPE_CHECKING, Callable

from clore_ai._ssh import programs
from clore_ai._ssh.target import ALONE
from clore_ai._values.text import plain
from clore_ai.models.records import Gpu, GpuReading
from clore_ai.rental.watch.ends import Ends
from clore_ai.rental.watch.orders import Monitor, reading
from clore_ai.rental.watch.view import READ_EVERY_S, OrdersWatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai._ssh.target import Target
    from clore_ai.rental.limits.expiry import Limit

_QUERY = (
    "nvidia-smi --query-gpu=index,utilization.gpu,temperature.gpu,memory.used,memory.total "
    "--format=csv,noheader,nounits"
)
# It ends with the connection: a process that waits for the end of its input ends the loop.
_LOOP = (
    "exec 3<&0; {{ cat <&3; kill $$; }} >/dev/null 2>&1 & "
    "while :; do {query} || exit $?; echo; sleep {every_s:g}; done"
)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_NOT_HERE = 127
_LONGEST_LINE, _MOST_GPUS, _SOONEST_S = 1_000, 64, 0.2
_ENDS_WITHIN_S = 1.0


def watching(
    order_ids: Sequence[int],
    every_s: float,
    for_s: float | None,
    *,
    gpus: bool,
    idle_cancel_s: float | None = None,
    others: bool = False,
    at_limit: Callable[[Limit], bool] | None = None,
) -> OrdersWatch:
    """What `view.step` needs to watch orders, to be closed; with `gpus` it opens connections.

    Raises:
        ValueError: a time is not above 0, or idle orders can't be found.
    """
    times = (every_s, for_s, idle_cancel_s)
    if any(time_s is not None and time_s <= 0 for time_s in times):
        raise ValueError("every, timeout and idle_cancel must be above 0")
    if idle_cancel_s is not None and not gpus:
        raise ValueError("idle_cancel reads the GPUs; leave out gpus=False")
    monitor = Monitor(frozenset(order_ids) or None, idle_cancel_s, others)
    state = OrdersWatch(monitor, every_s, for_s or float("inf"), ends=Ends(at_limit))
    if gpus:
        state.readings = Feeds(min(READ_EVERY_S, every_s))
    return state


class Feeds:
    """The connections; to be closed."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._feeds: dict[int, _Feed] = {}
        self._out: queue.SimpleQueue[GpuReading] = queue.SimpleQueue()

    def follow(self, order_id: int, targets: Sequence[Target]) -> None:
        """Keep a connection to this order, at any of its `targets`; without targets, end it."""
        known = self._feeds.get(order_id)
        if known is not None and (not targets or known.targets != tuple(targets)):
            self._feeds.pop(order_id).stop()
            known = None
        if known is None and targets:
            self._feeds[order_id] = _Feed(order_id, tuple(targets), self._every_s, self._out)

    def only(self, order_ids: Sequence[int]) -> None:
        """End the connections to all others."""
        for order_id in set(self._feeds) - set(order_ids):
            self.follow(order_id, ())

    def reports(self, within_s: float) -> list[GpuReading]:
        """The readings since the last call; waits `within_s` for the first."""
        found: list[GpuReading] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._out.get(block=within_s > 0, timeout=within_s))
            while True:
                found.append(self._out.get_nowait())
        return found

    def close(self) -> None:
        """End all connections."""
        for feed in self._feeds.values():
            feed.end()
        self.only(())


class _Feed:
    def __init__(
        self,
        order_id: int,
        targets: tuple[Target, ...],
        every_s: float,
        out: queue.SimpleQueue[GpuReading],
    ) -> None:
        self.targets = targets
        self._order_id = order_id
        self._line = _LOOP.format(query=_QUERY, every_s=every_s)
        self._out = out
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                programs.kill(self._process.pid)

    def stop(self) -> None:
        self.end()
        self._thread.join(2 * _ENDS_WITHIN_S)

    def _run(self) -> None:
        pause_s, turn = _FIRST_PAUSE_S, 0
        while not self._over.is_set():
            target = self.targets[turn % len(self.targets)]
            read, why = self._connect(target)
            if self._over.is_set():
                return
            pause_s = _FIRST_PAUSE_S if read else min(pause_s * 2, _LONGEST_PAUSE_S)
            turn += not read
            self._out.put(GpuReading(self._order_id, time.monotonic(), why=why))
            self._over.wait(pause_s)

    def _connect(self, target: Target) -> tuple[bool, str]:
        """Read until the connection ends; returns whether there was a reading, and why it ended."""
        with self._lock:
            if self._over.is_set():
                return False, ""
            try:
                process = self._process = programs.start(
                    target.ssh(self._line, *ALONE),
                    stdin=subprocess.PIPE,  # open while this process lives
                    stderr=subprocess.STDOUT,
                )
            except OSError as exc:
                return False, f"ssh: {exc.strerror}"
        read, last = False, ""
        try:
            read, last = self._read(process)
            code = process.wait(_ENDS_WITHIN_S) if process.stdout is not None else None
        except subprocess.TimeoutExpired:
            return read, "the machine sent unexpected output"
        finally:
            programs.end(process)
        if code == _NOT_HERE:
            return read, "nvidia-smi is not installed"
        return read, last or f"ssh exited with {code}"

    def _read(self, process: subprocess.Popen[bytes]) -> tuple[bool, str]:
        read, last = False, ""
        gpus: list[Gpu] = []
        put_at = 0.0
        # The machine may write without end: long lines, many lines, and fast.
        for raw in iter(partial(_line, process.stdout), b""):
            line = raw.decode("utf-8", "replace")
            gpu = reading(line)
            if gpu is not None:
                gpus = [*gpus, gpu][:_MOST_GPUS]
            elif line.strip():
                last = plain(line)
            elif gpus:
                now = time.monotonic()
                if now - put_at >= _SOONEST_S:
                    self._out.put(GpuReading(self._order_id, now, tuple(gpus)))
                    put_at = now
                read, gpus, last = True, [], ""
        return read, last


def _line(out: IO[bytes] | None) -> bytes:
    return out.readline(_LONGEST_LINE) if out is not None else b""
