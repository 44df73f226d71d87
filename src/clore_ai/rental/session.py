"""What the flows of one client share: its rules, its ledger, its bids, its ways into orders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clore_ai._access import Access
from clore_ai._flow import Rules
from clore_ai._kept import Kept, records
from clore_ai.bids import Bids
from clore_ai.config import DEFAULT_BASE_URL, state_folder
from clore_ai.ledger import Intent, Ledger

RATES_KEPT_S = 300.0
LOOK_FOR_S = 30.0
"""How long a new order may take to show up in `my_orders` (design, 3)."""


@dataclass
class Session:
    """One client's memory."""

    rules: Rules = field(default_factory=Rules)
    ledger: Ledger = field(default_factory=Ledger)
    bids: Bids = field(default_factory=Bids)
    access: Access = field(default_factory=lambda: Access(state_folder(), DEFAULT_BASE_URL))
    look_for_s: float = field(default_factory=lambda: LOOK_FOR_S)
    """As `LOOK_FOR_S`."""
    rates: dict[str, float] = field(default_factory=dict[str, float])
    """USD for one coin, as last read from `spot_marketplace`."""
    rates_read_at: float | None = None
    """On the clock that never jumps."""
    worth: dict[str, float] = field(default_factory=dict[str, float])
    """USD for one coin, as the marketplace last seen implied it."""
    found: list[Intent] = field(default_factory=list[Intent])
    """Intents whose order a later look has found: their own command had been stopped."""
    trouble: list[str] = field(default_factory=list[str])
    """What the ledger could not keep after money was spent, a sentence each."""
    pilots: Kept[dict[str, Any]] = field(default_factory=lambda: records(None))
    """What is known of the spot orders that are steered (`autobid`), by id."""

    def note_trouble(self, sentence: str) -> None:
        """Keep a sentence for whoever shows it to the user, once."""
        if sentence not in self.trouble:
            self.trouble.append(sentence)
