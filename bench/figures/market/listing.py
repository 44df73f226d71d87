"""`GET marketplace` beside a bare Starlette app that returns the same bytes, by `wrk`."""

from __future__ import annotations

import urllib.request
from statistics import median
from typing import TYPE_CHECKING

from bench.bare import CONNECTIONS, NO_WRK, SECONDS, Side, bare, has_wrk, load
from bench.report import Row, not_run, rates
from bench.served import served

if TYPE_CHECKING:
    from bench.setting import Setting

LEAST_RATIO = 0.6


def measure(setting: Setting) -> list[Row]:
    """Measure the captured body, and one with today's fields, plain and compressed; quick: one."""
    if not has_wrk():
        return [not_run("GET marketplace", NO_WRK, _target())]
    bodies = (
        [("as captured", True), ("with price.usd", False)] if setting.captured else [("", False)]
    )
    rows: list[Row] = []
    for name, as_is in bodies[:1] if setting.quick else bodies:
        with served(setting, as_is=as_is) as market:
            ours = f"{market.base_url}/marketplace"
            sizes = [_saved(setting, ours, encoding) for encoding in ("identity", "gzip")]
            files = setting.folder / "body.identity", setting.folder / "body.gzip"
            with bare(setting, *files) as other:
                for encoding, size in zip(("identity", "gzip"), sizes):
                    sides = Side(ours, market.pid), Side(other.url, other.pid)
                    rows.append(_compared(setting, _what(name, encoding, size), encoding, sides))
    rows[0].notes.append(
        f"the column of 0.1.1 is a bare Starlette app on uvicorn (uvloop, httptools) that returns "
        f"the same bytes; wrk with {CONNECTIONS} connections, {SECONDS} s a run; one worker, no "
        "limits."
    )
    return rows


def _what(name: str, encoding: str, size: int) -> str:
    words = ["GET marketplace", name, "gzip" if encoding == "gzip" else "plain"]
    return f"{' '.join(word for word in words if word)}, {size / 1e6:.2f} MB"


def _target() -> str:
    return f"ratio >= {LEAST_RATIO}"


def _saved(setting: Setting, url: str, encoding: str) -> int:
    """Save the served body, byte for byte; its length."""
    request = urllib.request.Request(url, headers={"accept-encoding": encoding})
    with urllib.request.urlopen(request) as answer:
        got = answer.headers.get("content-encoding", "identity")
        if got != encoding:
            raise RuntimeError(f"{url} answered in {got}, not {encoding}")
        body: bytes = answer.read()
    (setting.folder / f"body.{encoding}").write_bytes(body)
    return len(body)


def _compared(setting: Setting, what: str, encoding: str, sides: tuple[Side, Side]) -> Row:
    for _ in range(setting.long_runs):
        for side in sides:
            load(side, encoding)
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
        len(ratios),
    )
