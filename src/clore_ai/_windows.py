"""What works on Windows: the calls of the service, not the work on machines.

Work on machines needs OpenSSH's shared connections, and the file locks and signals of Linux and
macOS.
"""

from __future__ import annotations

import sys

from clore_ai.exceptions import ConfigError

COMMANDS = frozenset({
    "search", "deploy", "orders", "cancel", "wallets", "ledger", "orphans", "budget", "hosts",
    "spot-price", "servers", "server-config", "config",
})  # fmt: skip
"""The commands that need only the service."""


def refuse(what: str) -> None:
    """Raise an error on Windows.

    Raises:
        ConfigError: `what` does not work here; the message says what does.
    """
    if sys.platform == "win32":
        raise ConfigError(
            f"{what} needs Linux or macOS: run it in WSL. What works on Windows itself: the calls "
            "of clore_ai (marketplace, create_order, my_orders, cancel_order, …), and clore "
            f"{', '.join(sorted(COMMANDS))}."
        )
