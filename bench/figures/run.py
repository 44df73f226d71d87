"""`clore run`: its own overhead, its stream against plain ssh, an upload of nothing new.

`clore run -- true` is measured from the command's start to its end. Subtracted are the waits that
its calls require, by the marketplace's journal from the first request to the last: the account's
pace (1 request per second, `create_order` once in 5 s) and the boot, which is zero here.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

from tests.schedules import report

from bench.pairs import Pairs, in_turn
from bench.renter import UNPACED, Renter
from bench.report import Row, timed

if TYPE_CHECKING:
    from bench.setting import Setting
    from clore_sandbox import Sandbox

ADDED_AT_MOST_S = 1.5
STREAM_AT_MOST = 1.3
AGAIN_AT_MOST_S = 2.0
MEGABYTES = 100
FILES = 10_000
SCHEDULES = 20


def measure(setting: Setting) -> list[Row]:
    """Measure without boot time; with the service's limits for the first rows only.

    Two accounts run in turn, so that neither waits for the calls of its last run.
    """
    with setting.sandbox(provision=True, visibility_lag_s=0.0, boot_s=0.0) as sandbox:
        one, other = _User(setting, sandbox), _User(setting, sandbox)
        order = one.order()
        added = in_turn(
            lambda: one.added("--order", order),
            lambda: other.added("--gpu", "RTX", "--yes"),
            setting.long_runs,
        )
    with setting.sandbox(provision=True, visibility_lag_s=0.0, boot_s=0.0, limits=False) as sandbox:
        user = _User(setting, sandbox, **UNPACED)
        stream = user.stream(10 if setting.quick else MEGABYTES, setting.runs)
        again = user.again(1_000 if setting.quick else FILES, setting.long_runs)
    size = 10 if setting.quick else MEGABYTES
    count = 1_000 if setting.quick else FILES
    starts = "a start of Python, OpenSSH's login and five commands over it are in it."
    return [
        timed("clore run --order ID -- true, above its calls", Pairs(added.a, []),
              ours_at_most_s=ADDED_AT_MOST_S, notes=[starts]),
        timed("clore run --gpu … -- true, above its calls", Pairs(added.b, []),
              ours_at_most_s=ADDED_AT_MOST_S,
              notes=["verified (nvidia-smi, disk, network), and cancelled until it is gone."]),
        timed(f"stream of {size} MB of output, against ssh … cat", stream,
              ratio_at_most=STREAM_AT_MOST,
              notes=["the second is plain ssh; from the first byte to the last."]),
        timed(f"second upload of {count} unchanged files", again,
              ours_at_most_s=AGAIN_AT_MOST_S,
              notes=["clore run of true with the folder, less the same with --no-upload."]),
        _schedules(setting),
    ]  # fmt: skip


class _User(Renter):
    """A renter with a folder to run."""

    def __init__(self, setting: Setting, sandbox: Sandbox, **env: str) -> None:
        super().__init__(setting, sandbox, **env)
        self._order: int | None = None
        self._folder = setting.folder / "working"
        self._folder.mkdir(exist_ok=True)

    def order(self) -> int:
        if self._order is None:
            words = ("--gpu", "RTX", "--verify", "ssh", "--yes")
            self._order = int(self.clore("rent", *words).split()[0])
        return self._order

    def added(self, *words: object) -> float:
        """Seconds of a run of `true`, less the waits that its calls require."""
        self.sandbox.clear_journal()
        start = time.perf_counter()
        self.clore("run", "--folder", self._folder, *words, "--", "true")
        took = time.perf_counter() - start
        return took - self.must_wait_s()

    def stream(self, megabytes: int, runs: int) -> Pairs:
        order = self.order()
        line = f"cat {megabytes}"
        (self._folder / str(megabytes)).write_bytes(os.urandom(1 << 20) * megabytes)
        self.clore("run", "--folder", self._folder, "--order", order, "--", "true")
        ours = [self._clore, "run", "--no-upload", "--folder", str(self._folder),
                "--order", str(order), "--", line]  # fmt: skip
        plain: list[str] = json.loads(
            self.clore("ssh", order, "--json", "--", f"cd work/working && {line}")
        )["command"]
        return in_turn(lambda: self._streamed(ours), lambda: self._streamed(plain), runs)

    def _streamed(self, command: list[str]) -> float:
        """Seconds from the first byte to the last; checks that all bytes are right."""
        with subprocess.Popen(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            seen = hashlib.sha1(process.stdout.read(1))
            start = time.perf_counter()
            while piece := process.stdout.read(1 << 16):
                seen.update(piece)
            took = time.perf_counter() - start
        whole = (self._folder / command[-1].split()[-1]).read_bytes()
        if seen.digest() != hashlib.sha1(whole).digest():
            raise RuntimeError("what was streamed is not what was written")
        return took

    def again(self, files: int, runs: int) -> Pairs:
        for number in range(files):
            path = self._folder / f"{number % 100}" / f"{number}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"print({number})\n")
        words = ("run", "--folder", self._folder, "--order", self.order())
        self.clore(*words, "--", "true")

        def seconds(*more: str) -> float:
            start = time.perf_counter()
            self.clore(*words, *more, "--", "true")
            return time.perf_counter() - start

        return in_turn(lambda: max(0.0, seconds() - seconds("--no-upload")), None, runs)


def _schedules(setting: Setting) -> Row:
    """Count errors under random faults and stops: see `tests/run_schedules`."""
    runs = 3 if setting.quick else SCHEDULES
    found = report.found("tests.run_schedules", runs=runs, at_once=8)
    wrong = {kind: found[kind] for kind in ("unknown machines", "wrong codes", "wrong output")}
    return Row(
        f"{runs} schedules of clore run with faults: " + ", ".join(wrong),
        ", ".join(map(str, wrong.values())),
        target="0, 0, 0",
        met=not any(wrong.values()) and not found["broken"],
        notes=["`make soak` plays 500."],
    )
