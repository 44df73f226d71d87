"""A world for the examples: the servers and orders that they name, and enough money.

The documents rent the servers 6, 123 and 12345, cancel order 38, bid again for order 39, and host
MyGPU. A snapshot is loaded before each example, so that each starts in the same world.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from functools import lru_cache
from typing import Any

import httpx
import places
import pytest
from forks import Forks

from clore_sandbox import Sandbox
from clore_sandbox.fleet.sample import sample_fleet
from tests.examples_of_documents.blocks import of

OPTIONS = {"visibility_lag_s": 0, "boot_s": 0.1, "host_servers": 1}


def servers() -> list[dict[str, Any]]:
    """A sample fleet: every 4090 has a price in bitcoin, as in 2024; and four more servers."""
    fleet: list[dict[str, Any]] = copy.deepcopy(sample_fleet(1))
    model = next(s for s in fleet if "4090" in s["specs"]["gpu"] and not s["rented"])
    for number, prices in (
        (6, (1e-5, 1e-6)),
        (7, (1e-5, 1e-6)),
        (123, (1e-4, 1e-5)),
        (12345, (1e-4, 1e-5)),
    ):
        server = copy.deepcopy(model) | {"id": number, "gigaspot": False, "rented": False}
        server["specs"]["gpu"] = "1x NVIDIA GeForce GTX 1080 Ti"
        server["gpu_array"] = [" GTX 1080 Ti"]
        server["allowed_coins"] = ["bitcoin", "CLORE-Blockchain"]
        on_demand, spot = prices
        server["price"] = {
            "on_demand": {"bitcoin": on_demand, "CLORE-Blockchain": 100},
            "spot": {"bitcoin": spot, "CLORE-Blockchain": 10},
        }
        fleet.append(server)
    return fleet


def prepared(sandbox: Sandbox) -> dict[str, Any]:
    """The state of the world: orders 38 (on demand) and 39 (spot) have run for an hour."""
    order = {"image": "i", "ports": {"22": "tcp"}, "ssh_password": "Secret123"}
    asks = (
        {"renting_server": 61_000, "type": "on-demand", "currency": "CLORE-Blockchain"},
        {"renting_server": 7, "type": "spot", "currency": "bitcoin", "spotprice": 0.000002},
    )
    sandbox.set_rented(61_000, False)
    with httpx.Client(base_url=sandbox.base_url, headers={"auth": sandbox.api_key}) as http:
        for ask in asks:
            answer = http.post("/create_order", json={**order, **ask}).json()
            assert answer["code"] == 0, answer
            sandbox.jump(6)
    sandbox.jump(3600)
    state = sandbox.snapshot()
    table = state["tables"]["orders"]  # type: ignore[index]
    column = table["columns"].index("id")
    for row, number in zip(sorted(table["rows"], key=lambda r: r[column]), (38, 39)):
        row[column] = number
    return state


@lru_cache(maxsize=1)
def _forks() -> Forks:
    return Forks("forks:script", ("clore_ai.client", "httpcore", "requests"))


def _succeeded(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


class World:
    """A marketplace, the settings that point programs at it, and a way back to its first state."""

    def __init__(self, sandbox: Sandbox, pace: int, folder: Any) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self._state = prepared(sandbox)
        self.environment = {
            **os.environ,
            **sandbox.environment,
            "CLORE_HOME": str(folder / "home"),
            "CLORE_REQUESTS_PER_SECOND": str(pace),
            "PYTHONUNBUFFERED": "1",
        }

    def begin(self) -> None:
        """Go back to the first state."""
        self.sandbox.load(self._state)

    def acted(self, endpoint: str) -> list[Any]:
        """The journal's entries of calls that were acted on."""
        return [e for e in self.sandbox.journal(endpoint) if e.acted]

    def write(self, name: str, text: str) -> Any:
        """Write a program with the address and key of this world."""
        path = self.folder / name
        path.write_text(text, "utf-8")
        return path

    def run(self, *words: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; it must succeed without a traceback."""
        return _succeeded(
            subprocess.run(
                [str(w) for w in words],
                env=self.environment,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=60,
            )
        )

    def python(self, text: str, name: str = "example.py") -> str:
        """The output of a Python program, run in a fork of a process that has imported the SDK."""
        words = [str(self.write(name, text))]
        done = _forks().run(words, self.environment, "", 60, cwd=self.folder)
        return _succeeded(done).stdout

    def until(self, text: str, last: str) -> str:
        """The output of an endless Python program until a line contains one of `last`."""
        program = self.write("example.py", text)
        seen = ""
        with subprocess.Popen(
            [sys.executable, str(program)],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for line in process.stdout:
                seen += line
                if re.search(last, line):
                    break
            process.terminate()
        assert re.search(last, seen), seen
        return seen


def _world(tmp_path_factory: pytest.TempPathFactory, pace: int, **options: Any) -> Any:
    if places.document("001") is None:
        pytest.skip("the service's documents are not available (CLORE_DOCUMENTS)")
    with Sandbox(**{**OPTIONS, "inventory": {"servers": servers()}, **options}) as sandbox:
        yield World(sandbox, pace, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def unpaced_market(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Live dialect without limits, for examples that call as fast as they can."""
    yield from _world(tmp_path_factory, 1000, limits=False)


@pytest.fixture(scope="module")
def paced_market(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Live dialect, the service's limits at ten times its speed: for clients that keep a pace."""
    yield from _world(tmp_path_factory, 10, time_scale=10)


@pytest.fixture(scope="module")
def reference_market(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The dialect of 002 and 004, without limits."""
    yield from _world(tmp_path_factory, 1000, limits=False, dialect="reference")


@pytest.fixture
def unpaced(unpaced_market: World) -> World:
    unpaced_market.begin()
    return unpaced_market


@pytest.fixture
def paced(paced_market: World) -> World:
    paced_market.begin()
    return paced_market


@pytest.fixture
def reference(reference_market: World) -> World:
    reference_market.begin()
    return reference_market


@pytest.fixture(params=["the package's client", "the document's client"])
def clore_client(request: pytest.FixtureRequest, unpaced: World) -> Any:
    """The package that provides `clore_client`: 001's own class, or the installed one."""
    mine = unpaced.folder / "clore_client.py"
    mine.unlink(missing_ok=True)
    if request.param.startswith("the document"):
        (block,) = of("001", "python", "import requests")
        mine.write_text(block.at(unpaced.sandbox.base_url, unpaced.sandbox.api_key), "utf-8")
    yield request.param
    mine.unlink(missing_ok=True)
