"""No connection to the ledger is left open for Python to warn of, even by an unclosed client."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clore_ai._state.store import Store


def test_a_closed_client_holds_no_file(api_of: Any, market: Any, home: Path) -> None:
    """`close` closes the ledger and the host memory; they are opened again when used."""
    api = api_of(market, state=True)

    def held() -> list[str]:
        links = Path("/proc/self/fd").iterdir()
        names = [str(link.readlink()) for link in links if link.is_symlink()]
        return [name for name in names if name.startswith(str(home)) and "sqlite" in name]

    api.ledger.budgets()
    api.session.hosts.block([])
    assert held()
    api.client.api_key = f"{api.key}-other"
    assert not held()
    api.ledger.budgets()
    assert held()
    api.close()
    assert not held()
    assert api.ledger.budgets() == []


@pytest.mark.parametrize("kept", [True, False])
def test_an_abandoned_connection_is_closed_by_the_next_one(tmp_path: Path, kept: bool) -> None:
    """A finalizer would swallow a Ctrl-C, so it does not close; for files and memory alike."""
    store = Store(tmp_path if kept else None)
    connection = store.run(lambda db: db)
    del store
    gc.collect()
    Store().run(lambda _: None)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


@pytest.mark.parametrize("end", ["del clients[1:]", "pass"])
def test_with_warnings_as_errors(end: str, home: Path) -> None:
    """A program under ``-W error`` ends without any warning, on Python 3.13 too.

    With and without a state folder; of each one client is closed, and one is not.
    """
    program = f"""
from clore_ai import CloreAI
clients = [CloreAI("key", "http://127.0.0.1:9", state=state) for state in (True, None) * 2]
for client in clients:
    client.ledger.budgets(), client.session.hosts.block([])
for client in clients[:2]:
    client.close()
del client
{end}
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
