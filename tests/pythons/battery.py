"""A user's session on one Python: every command once, and the programs in examples/."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.docs.write_cli import every_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ORDER = ("--image", "cloreai/ubuntu22.04-cuda12", "--currency", "bitcoin", "--yes")
WISH = ("--gpu", "RTX", "--max-price", "5/h", "--yes")
_LEFT_RUNNING = "ignore:subprocess:ResourceWarning"
"""The follower of a detached job is left running on purpose."""
PROGRAM = """
import asyncio
from clore_ai import AsyncCloreAI, CloreAI
from clore_client import CloreClient

async def count():
    async with AsyncCloreAI() as client:
        return len(await client.marketplace())

with CloreAI() as client, client.rent("RTX", max_price_usd=5, max_cost_usd=9) as rental:
    assert rental.exec("echo hi").stdout == "hi\\n"
    assert client.run(["echo", "ho"], rental.order.id, folder="work").code == 0
assert 0 < asyncio.run(count()) <= len(CloreClient().list_servers())
"""


class BatteryError(Exception):
    """A command did not end as it should."""


@dataclass
class Battery:
    """Runs programs with one Python, and records which commands of `clore` were among them."""

    python: Sequence[str]
    env: dict[str, str]
    folder: Path
    used: list[list[str]] = field(default_factory=list)

    def clore(self, *words: object, ends: int = 0, stdin: str = "") -> str:
        """The output of one command; warnings are errors."""
        texts = [str(word) for word in words]
        self.used.append(texts[:2])
        return self.run(["-m", "clore_ai", *texts], ends, stdin)

    def run(self, words: Sequence[str], ends: int = 0, stdin: str = "") -> str:
        done = subprocess.run(
            [*self.python, "-W", "error", "-W", _LEFT_RUNNING, *words],
            env=self.env, cwd=self.folder, input=stdin, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if done.returncode != ends or "Traceback" in done.stderr or "Warning" in done.stderr:
            raise BatteryError(f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def left(self) -> list[str]:
        """The commands that have not been run."""
        used = {tuple(words) for words in self.used} | {tuple(words[:1]) for words in self.used}
        return [" ".join(words) for words in every_command() if words and tuple(words) not in used]


def play(battery: Battery, examples: Sequence[str], *, sandbox: bool) -> None:
    """Play every step. `sandbox`: whether this Python can run a marketplace of its own.

    Raises:
        BatteryError: a command did not end as it should.
    """
    clore = battery.clore
    clore("--help")
    clore("--version")
    clore("config", "set", "requests_per_second", "1000")
    clore("config", "get", "requests_per_second")
    clore("config", "show")
    _look(battery)
    _order(battery)
    _jobs(battery)
    _spot(battery)
    clore("cancel", "--all", "--yes")
    for example in examples:
        battery.run([example])
    battery.run(["-c", PROGRAM])
    clore("sandbox", "up", "--detach", ends=0 if sandbox else 2)
    clore("sandbox", "status", ends=0 if sandbox else 6)
    clore("sandbox", "down")
    clore("demo", ends=0 if sandbox else 1)
    if battery.left():
        raise BatteryError(f"not run: {', '.join(battery.left())}")


def _look(battery: Battery) -> None:
    clore = battery.clore
    clore("search", "--gpu", "RTX 3090", "--limit", 3)
    clore("watch", "--gpu", "RTX", "--once", "--json")
    clore("wallets")
    clore("servers")
    clore("server-config", "MyGPU")
    clore("budget", "set", "500/day")
    clore("budget")
    clore("budget", "unset")


def _order(battery: Battery) -> None:
    clore = battery.clore
    server = _server(battery, "price_usd_per_hour")["id"]
    order = clore("deploy", server, "--type", "on-demand", *ORDER, "--wait").strip()
    clore("ssh", order, "--", "nvidia-smi", "-L")
    clore("orders", "--json")
    clore("monitor", "--once")
    clore("lease")
    clore("lease", "set", order, "2h")
    clore("lease", "extend", order, "1h")
    clore("reap", "--dry-run")
    clore("ledger")
    clore("orphans")
    clore("hosts")
    clore("hosts", "block", server)
    clore("hosts", "list")
    (battery.folder / "hosts.json").write_text(clore("hosts", "export"), "utf-8")
    clore("hosts", "allow", server)
    clore("hosts", "import", battery.folder / "hosts.json")
    clore("cancel", order, "--yes")


def _jobs(battery: Battery) -> None:
    clore = battery.clore
    work = ("--folder", battery.folder / "work")
    script = "mkdir -p out && echo done | tee out/file"
    clore("run", *WISH, *work, "--output", "out", "--", script)
    if (battery.folder / "work" / "out" / "file").read_text("utf-8") != "done\n":
        raise BatteryError("the output of the job was not fetched")
    order = clore("rent", *WISH).strip()
    on_it = ("run", "--order", order, *work, "--yes", "--detach", "--")
    for line, word in (("sleep 300", "stop"), ("sleep 1", "attach")):
        clore(*on_it, line)
        job = max(each["id"] for each in json.loads(clore("jobs", "--json")))
        clore("logs", job)
        clore(word, job)


def _spot(battery: Battery) -> None:
    clore = battery.clore
    row = _server(battery, "spot_price_usd_per_hour")
    server, on_demand = row["id"], row["price_usd_per_hour"]
    clore("spot", server)
    clore("spot", "show", server)
    order = clore(
        "deploy", server, "--type", "spot", *ORDER, "--spot-price", f"{on_demand}/h", "--wait"
    ).strip()
    clore("spot-price", order, f"{2 * on_demand}/h", "--yes")
    clore("spot", "auto", order, "--max", f"{2 * on_demand}/h", "--once", "--yes")


def _server(battery: Battery, price: str) -> dict[str, Any]:
    """A free server that has such a price and takes bitcoin."""
    rows = json.loads(battery.clore("search", "--max-price", "2/h", "--limit", 100, "--json"))
    return next(row for row in rows if row[price] and "bitcoin" in row["allowed_coins"])
