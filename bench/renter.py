"""An account on a marketplace, and its `clore` commands."""

from __future__ import annotations

import subprocess
import tempfile
from typing import TYPE_CHECKING

from clore_sandbox.faults.journal import shown_key

if TYPE_CHECKING:
    from bench.setting import Setting
    from clore_sandbox import Sandbox

COINS = {"bitcoin": 1.0, "USD-Blockchain": 1_000.0, "CLORE-Blockchain": 100_000.0}
CREATE_GAP_S = 5.0
UNPACED = {"CLORE_REQUESTS_PER_SECOND": "1000000"}
"""For a marketplace without limits: the figure is our time, not the service's pace."""


class Renter:
    """A new account with a home of its own: no other one's calls delay its own."""

    def __init__(self, setting: Setting, sandbox: Sandbox, **env: str) -> None:
        self._clore = str(setting.places.ours.clore)
        self.sandbox = sandbox
        home = tempfile.mkdtemp(prefix="home-", dir=setting.folder)
        own = {"HOME": home, "CLORE_HOME": f"{home}/.clore"}
        self._key = sandbox.create_account(COINS)
        self.env = {**setting.environ(sandbox), **own, "CLORE_API_KEY": self._key, **env}

    def clore(self, *words: object, **env: str) -> str:
        """The output of a command; `env` are further variables.

        Raises:
            RuntimeError: its exit code is not 0; carries its stderr.
        """
        command = [self._clore, *map(str, words)]
        done = subprocess.run(
            command, env={**self.env, **env}, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"clore {words[0]} exited with {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def must_wait_s(self) -> float:
        """The waits that the service's pace requires of this account's calls.

        By the journal: 1 s between any two calls, 5 s between two calls of `create_order`.
        """
        key = shown_key(self._key)
        calls = [entry.endpoint for entry in self.sandbox.journal() if entry.key == key]
        creates = calls.count("create_order")
        return float(max(0, len(calls) - 1)) + CREATE_GAP_S * max(0, creates - 1)
