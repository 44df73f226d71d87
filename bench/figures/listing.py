"""`GET marketplace` beside a bare Starlette app that returns the same bytes, by `wrk`.

`wrk` asks from one thread over 8 connections, for a second at a time. How much of a core it and
the server used says which of the two was the bottleneck.
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from bench import cpu
from bench.report import Row, not_run, rates
from bench.served import HERE, served
from bench.worker import worker

if TYPE_CHECKING:
    from bench.setting import Setting

LEAST_RATIO = 0.6
CONNECTIONS, SECONDS = 8, 1
# A second each, four sides a body: more of them say the same, later.
MOST_PAIRS = 5
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")


@dataclass
class Side:
    """One server: where, its process, and what was measured of it."""

    url: str
    pid: int
    per_second: list[float] = field(default_factory=list[float])
    busy: list[float] = field(default_factory=list[float])
    """The share of a core that its process used."""
    wrk_busy: list[float] = field(default_factory=list[float])


def measure(setting: Setting) -> list[Row]:
    """The captured body as it is and with today's fields, plain and compressed; quick: as it is."""
    if shutil.which("wrk") is None:
        what = "GET marketplace"
        return [not_run(what, "no wrk here (Debian: apt-get install wrk)", _target())]
    bodies = (
        [("as captured", True), ("with price.usd", False)] if setting.captured else [("", False)]
    )
    rows: list[Row] = []
    for name, as_is in bodies[:1] if setting.quick else bodies:
        with served(setting, as_is=as_is) as market:
            ours = f"{market.base_url}/marketplace"
            sizes = [_saved(setting, ours, encoding) for encoding in ("identity", "gzip")]
            files = [setting.folder / "body.identity", setting.folder / "body.gzip"]
            with worker(HERE, "bare", setting.environ(), *files) as bare:
                place = bare.said()
                for encoding, size in zip(("identity", "gzip"), sizes):
                    sides = (
                        Side(ours, market.pid),
                        Side(f"{place['base_url']}/marketplace", place["pid"]),
                    )
                    rows.append(_compared(setting, _what(name, encoding, size), encoding, sides))
    rows[0].notes.append(
        f"the column of 0.1.1 is a bare Starlette app on uvicorn (uvloop, httptools) that returns "
        f"the same bytes; wrk with {CONNECTIONS} connections, {SECONDS} s a run, at most "
        f"{MOST_PAIRS} pairs; one worker, no limits."
    )
    return rows


def _what(name: str, encoding: str, size: int) -> str:
    words = ["GET marketplace", name, "gzip" if encoding == "gzip" else "plain"]
    return f"{' '.join(word for word in words if word)}, {size / 1e6:.2f} MB"


def _target() -> str:
    return f"ratio >= {LEAST_RATIO}"


def _saved(setting: Setting, url: str, encoding: str) -> int:
    """Note what is served, byte for byte; its length."""
    request = urllib.request.Request(url, headers={"accept-encoding": encoding})
    with urllib.request.urlopen(request) as answer:
        got = answer.headers.get("content-encoding", "identity")
        if got != encoding:
            raise RuntimeError(f"{url} answered in {got}, not {encoding}")
        body: bytes = answer.read()
    (setting.folder / f"body.{encoding}").write_bytes(body)
    return len(body)


def _compared(setting: Setting, what: str, encoding: str, sides: tuple[Side, Side]) -> Row:
    for side in sides:  # not counted
        _load(Side(side.url, side.pid), encoding)
    for _ in range(min(setting.runs, MOST_PAIRS)):
        for side in sides:
            _load(side, encoding)
    ours, bare = sides
    ratios = [a / b for a, b in zip(ours.per_second, bare.per_second)]
    shares = " and ".join(
        f"{median(side.busy):.0%} (wrk {median(side.wrk_busy):.0%})" for side in sides
    )
    by_cpu = [
        (a / a_busy) / (b / b_busy)
        for a, a_busy, b, b_busy in zip(ours.per_second, ours.busy, bare.per_second, bare.busy)
    ]
    return Row(
        what,
        rates(ours.per_second, "/s"),
        rates(bare.per_second, "/s"),
        f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        _target(),
        median(ratios) >= LEAST_RATIO,
        [f"of a core, they used {shares}; the ratio by CPU seconds is {median(by_cpu):.2f}."],
    )


def _load(side: Side, encoding: str) -> None:
    """One run of wrk.

    Raises:
        RuntimeError: not all answers were a 200, or wrk failed.
    """
    words = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{SECONDS}s",
        "-H",
        f"accept-encoding: {encoding}",
    ]
    before, by_wrk = cpu.of_one(side.pid), _children_s()
    done = subprocess.run([*words, side.url], check=False, capture_output=True, text=True)
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
