"""Machines with real SSH, and a client that remembers only its own hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

import pytest

from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clients import Api


@pytest.fixture(scope="module")
def market() -> Iterator[Sandbox]:
    """Renting starts real SSH endpoints."""
    with Sandbox(visibility_lag_s=0.05, boot_s=0.1, limits=False) as sandbox:
        yield sandbox


@pytest.fixture
def api(api_of: Callable[..., Api], market: Sandbox, tmp_path: Path) -> Api:
    """A client with a state folder of its own and an empty memory of hosts."""
    return api_of(market, state=tmp_path)
