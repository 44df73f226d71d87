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
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.pairs import Pairs, in_turn
from bench.report import Row, timed
from bench.waits import CREATE_GAP_S, must_wait_s

if TYPE_CHECKING:
    from bench.setting import Setting
    from clore_sandbox import Sandbox

ADDED_AT_MOST_S = 1.5
STREAM_AT_MOST = 1.3
AGAIN_AT_MOST_S = 2.0
MEGABYTES = 100
FILES = 10_000
SCHEDULES = 500
ROOT = Path(__file__).resolve().parents[2]
BALANCES = {"bitcoin": 1.0, "USD-Blockchain": 1_000.0, "CLORE-Blockchain": 100_000.0}


def measure(setting: Setting) -> list[Row]:
    """Measure without boot time; with the service's limits for the first row only."""
    with setting.sandbox(
        provision=True, visibility_lag_s=0.0, boot_s=0.0, balances=BALANCES
    ) as sandbox:
        user = _User(setting, sandbox)
        on_one = in_turn(lambda: user.added("--order", user.order()), None, setting.runs)
        rented = in_turn(lambda: user.added("--gpu", "RTX", "--yes"), None, setting.runs)
    with setting.sandbox(
        provision=True, visibility_lag_s=0.0, boot_s=0.0, balances=BALANCES, limits=False
    ) as sandbox:
        user = _User(setting, sandbox, CLORE_REQUESTS_PER_SECOND="100000")
        stream = user.stream(10 if setting.quick else MEGABYTES, setting.runs)
        again = user.again(1_000 if setting.quick else FILES, setting.runs)
    size = 10 if setting.quick else MEGABYTES
    count = 1_000 if setting.quick else FILES
    starts = "a start of Python, OpenSSH's login and five commands over it are in it."
    return [
        timed("clore run --order ID -- true, above its calls", on_one,
              ours_at_most_s=ADDED_AT_MOST_S, notes=[starts]),
        timed("clore run --gpu … -- true, above its calls", rented,
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


class _User:
    """Runs `clore` on one marketplace."""

    def __init__(self, setting: Setting, sandbox: Sandbox, **env: str) -> None:
        self._clore = str(setting.places.ours.clore)
        self._env = {**setting.environ(sandbox), **env}
        self._sandbox = sandbox
        self._order: int | None = None
        self._folder = setting.folder / "working"
        self._folder.mkdir(exist_ok=True)

    def clore(self, *words: object) -> str:
        command = [self._clore, *map(str, words)]
        done = subprocess.run(command, env=self._env, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"clore {words[0]} exited with {done.returncode}: {done.stderr}")
        return done.stdout

    def order(self) -> int:
        if self._order is None:
            words = ("--gpu", "RTX", "--verify", "ssh", "--yes")
            self._order = int(self.clore("rent", *words).split()[0])
        return self._order

    def added(self, *words: object) -> float:
        """Seconds of a run of `true`, less the waits that its calls require."""
        self._sandbox.clear_journal()
        time.sleep(CREATE_GAP_S)  # so that this run does not wait for the calls of the last one
        start = time.perf_counter()
        self.clore("run", "--folder", self._folder, *words, "--", "true")
        took = time.perf_counter() - start
        return took - must_wait_s(self._sandbox)

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
            command, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
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
    runs = 10 if setting.quick else SCHEDULES
    words = ["--runs", str(runs), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.run_schedules", *words],
        cwd=ROOT, env=setting.environ(), check=False, capture_output=True, text=True,
    )  # fmt: skip
    if not done.stdout:
        raise RuntimeError(f"tests.run_schedules: {done.stderr.strip()[-300:]}")
    found = json.loads(done.stdout)
    wrong = {kind: found[kind] for kind in ("unknown machines", "wrong codes", "wrong output")}
    return Row(
        f"{runs} schedules of clore run with faults: " + ", ".join(wrong),
        ", ".join(map(str, wrong.values())),
        target="0, 0, 0",
        met=not any(wrong.values()) and not found["broken"],
    )
