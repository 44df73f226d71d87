"""Retries wait almost no time here: these marketplaces need no protection from load."""

from __future__ import annotations

import pytest

from clore_ai._api.waits import WAITS


@pytest.fixture(autouse=True)
def _retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WAITS, "backoff_s", 0.05)
