"""The blocking client is generated from the asyncio one: `make sync`."""

from __future__ import annotations

import pytest
import unasync


def test_the_blocking_client_is_current():
    """Each file of `_sync` is generated from its file in `_async`, and there is no other."""
    files = unasync.generated()
    assert set((unasync.PACKAGE / "_sync").glob("[a-z]*.py")) == set(files)
    for path, text in files.items():
        assert path.read_text("utf-8") == text, f"{path.name} is out of date: make sync"


def test_a_rule_that_replaces_nothing_is_refused(monkeypatch):
    """So a sentence that changes in `_async` cannot leave a stale rule behind."""
    monkeypatch.setattr(unasync, "RULES", (*unasync.RULES, ("no such words", "")))
    with pytest.raises(unasync.UselessRuleError, match="no such words"):
        unasync.generated()
