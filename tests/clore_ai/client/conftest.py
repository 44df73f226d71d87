"""What is sent again is sent again at once: these marketplaces are in no hurry to be spared."""

from __future__ import annotations

import pytest

from clore_ai._api.waits import WAITS


@pytest.fixture(autouse=True)
def _sent_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WAITS, "backoff_s", 0.05)
