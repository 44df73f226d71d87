"""0.1.1 in an environment of its own, and a process of it that answers calls."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Callable

import own_environment
import pytest

from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKER = Path(__file__).with_name("worker.py")
QUICK: dict[str, Any] = {"limits": False, "visibility_lag_s": 0, "boot_s": 0, "provision": False}


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter with 0.1.1; its environment is made on first use and kept."""
    try:
        return own_environment.released()
    except (OSError, subprocess.SubprocessError) as exc:
        pytest.skip(f"clore-ai 0.1.1 can't be installed from the package index: {exc}")


class Failed(Exception):  # noqa: N818 - raised by 0.1.1 in its process
    """An exception of 0.1.1: `type`, `message`, `code`."""

    def __init__(self, failure: dict[str, Any]) -> None:
        super().__init__(f"{failure['type']}: {failure['message']}")
        self.type, self.code, self.message = failure["type"], failure["code"], failure["message"]


class Released:
    """One of 0.1.1's clients for one account; its calls run in the other process."""

    def __init__(
        self, process: subprocess.Popen[str], market: Sandbox, key: str | None, max_retries: int
    ) -> None:
        self._process, self._market = process, market
        self._key, self._max_retries = key, max_retries

    def with_key(self, key: str | None, max_retries: int = 3) -> Released:
        """The same client for another account."""
        return Released(self._process, self._market, key, max_retries)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        who = {"key": self._key, "max_retries": self._max_retries}
        return lambda **arguments: self._ask({"name": name, "arguments": arguments, **who})

    def command(self, *words: object) -> Any:
        """Its command line: `code`, `out`, and the uncaught exception that it `raised`."""
        return SimpleNamespace(**self._ask({"command": list(map(str, words))}))

    def _ask(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        where = {"url": self._market.base_url, "account": self._market.api_key}
        self._process.stdin.write(json.dumps({**what, **where}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "failure" in answer:
            raise Failed(answer["failure"])
        return answer["value"]


def environment(home: Path, key: str) -> dict[str, str]:
    """An environment without anything of the developer's."""
    return {
        **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        "HOME": str(home),
        "CLORE_API_KEY": key,
        "COLUMNS": "250",
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.fixture(scope="session")
def process_of(
    python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """The processes of 0.1.1, one for each of its clients; a start takes most of a second."""
    home = tmp_path_factory.mktemp("home of 0.1.1")
    with contextlib.ExitStack() as stack:

        @cache
        def start(kind: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [str(python), str(WORKER), kind],
                env=environment(home, ""),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.stdin.close)  # type: ignore[union-attr]
            return process

        yield start


@pytest.fixture
def released_of(
    process_of: Callable[[str], subprocess.Popen[str]],
) -> Callable[..., Released]:
    """Makes its clients for the first account of a marketplace, ``sync`` or ``async``."""
    return lambda market, kind="sync": Released(process_of(kind), market, market.api_key, 3)


@pytest.fixture
def market_of() -> Iterator[Callable[..., Sandbox]]:
    """Makes marketplaces in the dialect of 002 and 004, or another one if given."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> Sandbox:
            return stack.enter_context(Sandbox(**{**QUICK, "dialect": "reference", **options}))

        yield make


@pytest.fixture(params=["sync", pytest.param("async", marks=pytest.mark.exhaustive)])
def kind(request: pytest.FixtureRequest) -> str:
    """Which of its two clients; both parse answers with the same models."""
    value: str = request.param
    return value
