"""Interrupts a call the instant it takes a lock: `python -m tests.interrupts.locks`.

For each lock that httpcore takes for a call and for closing the client, in turn: Ctrl-C comes right
after the lock was taken, if Python would let it in. Prints the number of locks; hangs if one is not
released.
"""

from __future__ import annotations

import signal
from typing import Any

from httpcore import _synchronization

from clore_ai import CloreAI
from clore_sandbox import Sandbox


class Presser:
    """Presses Ctrl-C when the lock of this number has been taken."""

    def __init__(self) -> None:
        self.number = self.taken = 0

    def watch(self, kind: Any) -> None:
        """Watch a kind of lock of httpcore's."""
        enter = kind.__enter__

        def entered(lock: Any) -> Any:
            result = enter(lock)
            self.taken += 1
            if self.taken == self.number:
                signal.raise_signal(signal.SIGINT)
            return result

        kind.__enter__ = entered

    def presses_in(self, market: Sandbox) -> bool:
        """Whether a call takes that many locks; it is interrupted at the last of them."""
        self.taken = 0
        client = CloreAI(market.api_key, base_url=market.base_url)
        try:
            try:
                client.wallets()
            finally:
                client.close()
        except KeyboardInterrupt:
            return True
        return False


def main() -> None:
    """Interrupt at one lock after the other."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    presser = Presser()
    presser.watch(_synchronization.Lock)
    presser.watch(_synchronization.ThreadLock)
    with Sandbox(provision=False, limits=False) as market:
        presser.number = 1
        while presser.presses_in(market):
            presser.number += 1
    print(presser.number - 1)


if __name__ == "__main__":
    main()
