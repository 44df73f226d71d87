"""A server of ready bytes under load from `wrk`: how much this machine can serve.

`wrk` sends requests from one thread over 8 connections, for a second at a time. The CPU time of
`wrk` and of the server shows which of the two was the bottleneck.
"""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench import cpu
from bench.served import HERE
from bench.worker import worker

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from bench.setting import Setting

CONNECTIONS, SECONDS = 8, 1
NO_WRK = "no wrk here (Debian: apt-get install wrk)"
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")


@dataclass
class Side:
    """One server: its URL, its process, and its measurements."""

    url: str
    pid: int
    per_second: list[float] = field(default_factory=list[float])
    busy: list[float] = field(default_factory=list[float])
    """The share of a core that the server's process used."""
    wrk_busy: list[float] = field(default_factory=list[float])


def has_wrk() -> bool:
    """Is `wrk` installed?"""
    return shutil.which("wrk") is not None


@contextlib.contextmanager
def bare(setting: Setting, plain: Path, gzip: Path) -> Generator[Side]:
    """A Starlette app on uvicorn (uvloop, httptools) that answers with these two files."""
    with worker(HERE, "bare", setting.environ(), plain, gzip) as process:
        place = process.answer()
        yield Side(f"{place['base_url']}/marketplace", place["pid"])


def load(side: Side, encoding: str = "identity") -> None:
    """Run wrk once and add its result to `side`.

    Raises:
        RuntimeError: wrk failed, or an answer was not a 200.
    """
    header = f"accept-encoding: {encoding}"
    words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-H", header, side.url]
    before, by_wrk = cpu.of_one(side.pid), _children_s()
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    used, by_wrk = cpu.of_one(side.pid) - before, _children_s() - by_wrk
    rate = _RATE.search(done.stdout)
    if rate is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"wrk: {done.stdout}{done.stderr}")
    side.per_second.append(float(rate[1]))
    side.busy.append(used / SECONDS)
    side.wrk_busy.append(by_wrk / SECONDS)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
