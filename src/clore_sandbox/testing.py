"""pytest fixtures: a marketplace of one's own for a test, and an environment that points at it.

pytest_plugins = ["clore_sandbox.testing"]

def test_my_rental_script(clore_sandbox): ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clore_sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["clore_sandbox"]


@pytest.fixture
def clore_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A fresh marketplace; `CLORE_BASE_URL` and `CLORE_API_KEY` are set to it."""
    with Sandbox() as sandbox:
        monkeypatch.setenv("CLORE_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("CLORE_API_KEY", sandbox.api_key)
        yield sandbox
