"""The state that the flows of one client share: rules, ledger, SSH access, memory of hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clore_ai._api.steps import Rules
from clore_ai._api.waits import WAITS
from clore_ai._ssh.order_keys import Access
from clore_ai._state.accounts import place_of
from clore_ai._state.bids import Bids, lowering_every_s
from clore_ai._state.folder import state_folder
from clore_ai._state.hosts import Hosts
from clore_ai._state.ledger import Ledger, account_of
from clore_ai._state.market import MarketFile, file_of
from clore_ai._state.pace import Pace
from clore_ai._state.store import Store
from clore_ai._values.secrets import ending
from clore_ai.config import DEFAULT_BASE_URL
from clore_ai.models.price import Rates
from clore_ai.models.records import Intent
from clore_ai.rental.gone import Listings

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai.config import Settings
    from clore_ai.models import Order

GONE_FOR_S = 60.0
"""Billing stops within about a minute of a cancel, but the list may lag (service.md, 3-4)."""


@dataclass
class Session:
    """The state of one client."""

    rules: Rules = field(default_factory=Rules)
    ledger: Ledger = field(default_factory=Ledger)
    bids: Bids = field(default_factory=Bids)
    access: Access = field(default_factory=lambda: Access(state_folder(), DEFAULT_BASE_URL))
    hosts: Hosts = field(default_factory=Hosts)
    market: MarketFile = field(default_factory=MarketFile)
    """The market as last read for a watch, by any process that shares the state folder."""
    look_for_s: float = field(default_factory=lambda: WAITS.look_for_s)
    """How long a new order may take to appear in `my_orders`."""
    gone_for_s: float = field(default_factory=lambda: GONE_FOR_S)
    """How long to wait for a cancelled order to be gone; see `GONE_FOR_S`."""
    rates: Rates = field(default_factory=Rates)
    """The coins' values, as last read."""
    market_read_at: float | None = None
    """When offers were last searched, on the monotonic clock."""
    made: set[int] = field(default_factory=set[int])
    """The orders that this client created."""
    found: list[Intent] = field(default_factory=list[Intent])
    """Intents whose order a later look has found: their own command had been stopped."""
    listings: Listings = field(default_factory=Listings)
    """What `my_orders` listed, and which orders are gone by that."""
    ended: dict[int, str] = field(default_factory=dict[int, str])
    """A sentence on each order whose end is news and was not caused here, until it is reported."""
    unread: int = 0
    """Rows of the last look at the orders that could not be read."""
    trouble: list[str] = field(default_factory=list[str])
    """Sentences for the user on the ledger: what it could not record after money was spent, and
    which account it assigned the key to."""
    jobs: Store = field(default_factory=lambda: Store(state_folder()))
    """The store of jobs, which is always in a state folder."""

    def note_trouble(self, sentence: str) -> None:
        """Keep a sentence to show to the user, once."""
        if sentence not in self.trouble:
            self.trouble.append(sentence)

    def remember(self, order: Order, identity: Path | None) -> None:
        """Record the key that opens an order; a full disk is only reported."""
        access = self.access
        if access.known(order) and identity in (None, access.identity(order.id)):
            return
        try:
            access.remember(order, identity)
        except OSError as exc:
            key = "" if identity is None else f"; its key is {identity}"
            self.note_trouble(
                f"The SSH files of order {order.id} can't be written in {access.home}: "
                f"{exc.strerror}{key}."
            )

    def close(self) -> None:
        """Close the files; a later use opens them again."""
        self.ledger.store.close()
        self.jobs.close()


def opened(settings: Settings, folder: Path | None, rules: Rules) -> tuple[Session, Pace]:
    """A client's session, and the pace of its key.

    With the state `folder` they outlast the client, and other processes share them; without it both
    live as long as the client.
    """
    key = account_of(settings.base_url, settings.api_key)
    # Orders belong to the account, whichever key opens it; a marketplace's order ids are unique.
    place = account_of(settings.base_url, None)
    store = Store(folder)
    access = Access(folder or state_folder(), settings.base_url, settings.ssh_options)
    session = Session(
        rules,
        Ledger(store, key, place_of(settings.base_url), ending(settings.api_key or "")),
        Bids(store, place, lowering_every_s(settings.requests_per_second)),
        access,
        Hosts(store, access.place),
        MarketFile(file_of(store, key)),
        jobs=store if folder else Store(access.home),
    )
    store.on_message = session.jobs.on_message = session.note_trouble
    return session, Pace(store, key)
