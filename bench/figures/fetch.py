"""Downloads through our receiver: a large file against rsync, and many unchanged files.

In this process, over one machine's SSH: both use the same `ssh` arguments.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from bench.pairs import Pairs, in_turn
from bench.report import Row, timed
from clore_ai import CloreAI
from clore_ai._ssh.copy.fetch import fetch_path
from clore_ai._ssh.target import ALONE

if TYPE_CHECKING:
    from pathlib import Path

    from bench.setting import Setting
    from clore_ai._ssh.target import Target

SLOWER_AT_MOST = 2.0
UNCHANGED_AT_MOST_S = 2.0
MEGABYTES, FILES = 500, 10_000


def measure(setting: Setting) -> list[Row]:
    """Measure on one order; each large fetch is complete, into a new folder."""
    megabytes = 10 if setting.quick else MEGABYTES
    files = 100 if setting.quick else FILES
    folder = setting.folder / "fetched"
    folder.mkdir(exist_ok=True)
    with (
        setting.sandbox(provision=True, visibility_lag_s=0.0, boot_s=0.0, limits=False) as sandbox,
        CloreAI(sandbox.api_key, sandbox.base_url, state=folder / ".clore") as client,
        client.rent("RTX", verify="ssh") as rental,
    ):
        rental.exec(
            f"mkdir large small && head -c {megabytes}000000 /dev/urandom > large/one && "
            f"cd small && mkdir $(seq 0 99) && seq {files} | "
            "while read n; do echo $n > $((n % 100))/$n; done",
            timeout=300,
        )
        target = client.session.access.target(rental.order)
        large = _against_rsync(target, folder, setting.long_runs)
        unchanged = in_turn(lambda: _ours(target, "small", folder / "small"), None, setting.runs)
    return [
        timed(f"fetch of {megabytes} MB, against rsync", large, ratio_at_most=SLOWER_AT_MOST,
              notes=["the second is rsync over the same ssh; loopback."]),
        timed(f"fetch of {files} unchanged files", unchanged, ours_at_most_s=UNCHANGED_AT_MOST_S,
              notes=["a login is in it."]),
    ]  # fmt: skip


def _against_rsync(target: Target, folder: Path, runs: int) -> Pairs:
    shell = shlex.join(target.ssh(None, *ALONE)[:-2])

    def rsync() -> float:
        goal = folder / "by-rsync"
        words = ["rsync", "-a", "-e", shell, f"{target.address}:large/", f"{goal}/"]
        start = time.perf_counter()
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        took = time.perf_counter() - start
        shutil.rmtree(goal, ignore_errors=True)
        if done.returncode:
            raise RuntimeError(f"rsync: {done.stderr}")
        return took

    def ours() -> float:
        goal = folder / "ours"
        took = _ours(target, "large", goal)
        shutil.rmtree(goal)
        return took

    return in_turn(ours, rsync, runs)


def _ours(target: Target, remote: str, goal: Path) -> float:
    start = time.perf_counter()
    found = fetch_path(lambda line: target.ssh(line, *ALONE), remote, goal)
    took = time.perf_counter() - start
    if found.refused or found.unread or not any(goal.iterdir()):
        raise RuntimeError(f"not all of {remote} came: {found}")
    return took
