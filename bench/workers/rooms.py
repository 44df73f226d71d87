"""Orders rented at once, a command on each over OpenSSH at once, all cancelled at once.

`rooms.py URL AUTH KEY SERVERS COIN`: the marketplace, a file with the account's key, an SSH key and
the servers. For `rent` on stdin it prints the seconds until every order has answered its command;
for `end` the seconds until every order is cancelled, and the ports and processes left after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx

URL, AUTH, KEY, SERVERS, COIN = sys.argv[1:]
#: No other program on this machine has this argument; it identifies an order's leftovers.
NAP = f"sleep 86399.{os.getpid()}"
#: Leaves a process behind that is detached from its session.
COMMAND = f"setsid {NAP} >/dev/null 2>&1 </dev/null & echo here"
PATIENCE_S = 60
OPTIONS = (
    *("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", KEY),
)


class Renter:
    """One account, its orders and their ports."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._public_key = Path(f"{KEY}.pub").read_text("utf-8").strip()
        self._orders: list[dict[str, Any]] = []
        self._ports: list[int] = []

    async def _post(self, endpoint: str, **body: object) -> None:
        answer = await self._http.post(endpoint, json=body)
        if answer.json()["code"] != 0:
            raise RuntimeError(f"{endpoint} answered {answer.text}")

    async def rent(self) -> float:
        """Rent all orders, wait until they boot, run the command on each."""
        start = time.perf_counter()
        order: dict[str, object] = {
            "type": "on-demand",
            "currency": COIN,
            "image": "cloreai/ubuntu22.04-cuda12",
        }
        order |= {"ssh_key": self._public_key, "ports": {"22": "tcp"}}
        servers = [int(number) for number in SERVERS.split(",")]
        posts = (self._post("create_order", renting_server=number, **order) for number in servers)
        await asyncio.gather(*posts)
        deadline = start + PATIENCE_S
        while True:
            self._orders = (await self._http.get("my_orders")).json()["orders"]
            if sum(order["mon_container"] == 2 for order in self._orders) == len(servers):
                break
            if time.perf_counter() > deadline:
                raise RuntimeError(f"not all of {len(servers)} orders came up")
            await asyncio.sleep(0.01)
        self._ports = [int(order["tcp_ports"][0].partition(":")[2]) for order in self._orders]
        await asyncio.gather(*(_command(port, deadline) for port in self._ports))
        return time.perf_counter() - start

    async def end(self) -> dict[str, float]:
        """Cancel all orders, and look for leftovers."""
        before = len(_naps())
        start = time.perf_counter()
        await asyncio.gather(
            *(self._post("cancel_order", id=order["id"]) for order in self._orders)
        )
        took = time.perf_counter() - start
        # A cancelled order has ended: this does not wait.
        reached = await asyncio.gather(*(_answers(port) for port in self._ports))
        return {"seconds": took, "ran": before, "left": len(_naps()), "open": sum(reached)}


async def _command(port: int, deadline: float) -> None:
    """Run the command on one order, as soon as its SSH answers."""
    while not await _answers(port):
        if time.perf_counter() > deadline:
            raise RuntimeError(f"port {port} does not answer")
        await asyncio.sleep(0.01)
    ssh = await asyncio.create_subprocess_exec(
        *("ssh", *OPTIONS, "-p", str(port), "root@127.0.0.1", COMMAND),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await ssh.communicate()
    if (ssh.returncode, out) != (0, b"here\n"):
        raise RuntimeError(f"ssh exited with {ssh.returncode}: {out + err!r}")


async def _answers(port: int) -> bool:
    """Does a server on this port send the SSH banner?"""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        word = await reader.read(4)
        writer.close()
        return word == b"SSH-"
    return False


def _naps() -> list[str]:
    """Processes of this machine, in containers too, that the commands left behind."""
    line = NAP.replace(" ", "\0").encode() + b"\0"
    found: list[str] = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (place / "cmdline").read_bytes() == line:
                found.append(place.name)
    return found


async def main(auth: str) -> None:
    async with httpx.AsyncClient(base_url=URL, headers={"auth": auth}, timeout=PATIENCE_S) as http:
        renter = Renter(http)
        lines = {"rent": renter.rent, "end": renter.end}
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            try:
                answer: object = await lines[line]()
            except (RuntimeError, OSError, httpx.HTTPError) as exc:
                answer = {"failed": f"{type(exc).__name__}: {exc}"}
            print(json.dumps(answer), flush=True)


asyncio.run(main(Path(AUTH).read_text("utf-8")))
