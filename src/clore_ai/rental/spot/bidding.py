"""Decides what to bid: a view of the auction in, a decision out, and the state in between.

Pure, with a state object: `see` takes each reading; `accepted` and `refused` the result of a bid.

- The bid is one tick above the highest rival that can be beaten within the limit, and never below
  the host's minimum. At the limit an equal bid is enough for the older order.
- Raising is free: a bid is raised as soon as it is outbid.
- Lowering is limited to `max_step`, once in 600 s (service.md, 1). The first refusal shows how
  large a step may be. A bid is lowered only if that puts no rival ahead. A small gain waits until
  the rivals' bids have settled: it would block a bigger one for 600 s.
- If the highest rival can't be beaten, the order waits, with the bid just above the rivals that
  can: when that rival leaves, the order runs at once, and at a low price.
- The service overrides this calculation: if a rival runs that the bid should beat, the bid is
  raised by a share until it does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from clore_ai._state.bids import LOWERING_S
from clore_ai._values.kinds import as_number
from clore_ai.models.price import DAY_S
from clore_ai.rental.spot.auction import TICKS, AuctionView, down, up

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_ai.exceptions import FieldError


WORTH_A_STEP = 0.25
"""A lowering by less than this share of the allowed step waits until rivals' bids have settled."""
STILL_S = 600.0
_LATE_S = 1.0
"""Added to the 600 s: the service counts by its own clock."""
_LAG_S = 30.0
"""How long a new bid may take to change which order runs."""
_DOUBT, _MOST_DOUBT = 0.005, 0.25

Action = Literal["hold", "raise", "lower"]
BidState = Literal["runs", "outbid", "beaten", "waits", "offline", "refused"]


@dataclass(frozen=True)
class Decision:
    """What to do now. `price`: the new bid, coin per **day**; None to hold.

    `standing`: ``runs``; ``outbid``: it will run at `price`; ``beaten``: rivals bid above the
    limit; ``waits``: no bid helps, e.g. if the server is rented on demand; ``offline``: the host
    is down; ``refused``: the host no longer accepts the coin.
    """

    action: Action
    standing: BidState
    price: float | None = None
    needs: float | None = None
    """The lowest bid that would win now; above the limit if the order is ``beaten``."""


@dataclass
class Autobid:
    """The state of one order's auction between looks; kept as JSON between commands."""

    bid: float | None = None
    """As last seen or set, coin per **day**."""
    lower_at: float = 0.0
    """When the bid may be lowered again, unix seconds."""
    step: float | None = None
    """The largest allowed lowering; None until a refusal shows it."""
    headroom: float = 0.0
    """The share by which to stay above the highest rival, so as to be outbid less often."""
    doubt: float = 0.0
    """The share by which to bid more than calculated, as a rival ran all the same."""
    set_at: float = 0.0
    """When the bid was last set."""
    needed: float | None = None
    """The lowest winning bid at the last look, and since when it has been that."""
    needed_since: float = 0.0
    active: bool | None = None
    """Did the order run at the last look?"""
    seen_at: float | None = None
    since: float | None = None
    """When the first look was."""
    idle_since: float | None = None
    """Since when the order has not run; None while it runs."""
    seen_s: float = 0.0
    held_s: float = 0.0
    """How much of `seen_s` the order ran, as far as the looks show."""
    outbids: int = 0
    """How often the order stopped running."""
    raised: int = 0
    lowered: int = 0
    on_demand: float = 0.0
    """The cost of the time held if rented on demand, in the coin, without fees."""
    at_bids: float = 0.0
    """The cost of that time at its bids; the service bills whole minutes instead."""
    spend_before: float | None = None
    """`spend` of the order at the first look."""
    _seen: AuctionView | None = field(default=None, repr=False)

    def dump(self) -> dict[str, Any]:
        """The state for JSON."""
        return {k: v for k, v in asdict(self).items() if not k.startswith("_") and v is not None}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Autobid:
        """Restore the result of `dump`; if it is damaged, start empty."""
        known = {f.name for f in fields(cls) if not f.name.startswith("_")}
        found = cls()
        for name, value in kept.items():
            if name == "active":
                found.active = value if isinstance(value, bool) else None
            elif name in known and (number := as_number(value)) is not None:
                whole = name in ("outbids", "raised", "lowered")
                setattr(found, name, int(number) if whole else number)
        if "at_bids" not in kept:  # from an earlier version; both must cover the same time
            found.on_demand = 0.0
        return found

    def on_demand_for(self, spend: float, on_demand_per_day: float) -> float:
        """The on-demand cost of the time that cost `spend`: the same billed minutes on both sides.

        `on_demand_per_day`: its price now, used if nothing was held between two looks yet.
        """
        if self.at_bids:
            return spend * self.on_demand / self.at_bids
        return spend * on_demand_per_day / self.bid if self.bid else 0.0

    def see(self, seen: AuctionView, on_demand_per_day: float | None = None) -> Decision:
        """Record a look, and decide. `on_demand_per_day`: the list price, in the coin."""
        self._tally(seen, on_demand_per_day)
        if self.bid is not None and seen.bid < self.bid:
            # Another program lowered it, or the answer to a lowering was lost: it happened by now.
            self.lower_at = max(self.lower_at, seen.at + LOWERING_S + _LATE_S)
        self.bid = seen.bid
        self._seen = seen
        decision = self._decide(seen)
        needs = decision.needs
        if needs != self.needed:
            self.needed, self.needed_since = needs, seen.at
        return decision

    def again(self, at: float) -> Decision:
        """Decide once more on the last look, after a refusal showed something new.

        Raises:
            ValueError: there was no look.
        """
        if self._seen is None:
            raise ValueError("there was no look yet")
        seen = self._seen
        bid = seen.bid if self.bid is None else self.bid
        return self._decide(
            AuctionView(at, bid, *[getattr(seen, f.name) for f in fields(AuctionView)[2:]])
        )

    def accepted(self, price: float, at: float) -> None:
        """Record that the service accepted this bid, at this time or before."""
        if self.bid is not None and price < self.bid:
            self.lower_at = at + LOWERING_S + _LATE_S
            self.lowered += 1
        elif self.bid is None or price > self.bid:
            self.raised += 1
        self.bid, self.set_at = price, at

    def refused(self, error: FieldError, price: float, at: float) -> bool:
        """Record that the service refused the bid; True if another bid may be accepted at once."""
        if error.error == "can_lower_every_600_seconds":
            left_s = error.lowering_in_s
            self.lower_at = at + (LOWERING_S if left_s is None else left_s) + _LATE_S
        elif error.error == "exceeded_max_step":
            tried = max(0.0, (self.bid or price) - price)
            most = error.max_step
            # A step that changes nothing would be refused for ever.
            self.step = most if most is not None and 0 < most < tried else tried / 2
            return self.step >= 1 / TICKS
        return False

    def _tally(self, seen: AuctionView, on_demand_per_day: float | None) -> None:
        runs = seen.active and seen.online
        if self.seen_at is not None and seen.at > self.seen_at:
            passed = seen.at - self.seen_at
            # The state changed in between: half of the time is the best guess.
            held = passed * (bool(self.active) + runs) / 2
            self.seen_s, self.held_s = self.seen_s + passed, self.held_s + held
            if on_demand_per_day is not None:
                self.on_demand += on_demand_per_day * held / DAY_S
                # The bid during that time: the bid of this look counts from now on.
                self.at_bids += (seen.bid if self.bid is None else self.bid) * held / DAY_S
        if self.active and not runs:
            self.outbids += 1
        if self.since is None:
            self.since = seen.at
        if runs:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = seen.at
        self.active, self.seen_at = runs, seen.at

    def _decide(self, seen: AuctionView) -> Decision:
        if seen.least is None:
            return Decision("hold", "runs" if seen.active else "refused")
        least = up(seen.least)
        self._doubts(seen, least)
        above = [up(r.above * (1 + self.doubt)) for r in seen.rivals]
        needs = max([least, *above])
        if not seen.online:
            standing: BidState = "offline"
        elif seen.active:
            standing = "runs"
        elif needs > seen.limit:
            standing = "beaten"
        else:
            standing = "outbid" if seen.bid < needs else "waits"
        if least > seen.limit:  # the host asks too much: no bid may be set
            return Decision("hold", standing, needs=needs)
        # Above all rivals that can be beaten.
        target = max([least, *(price for price in above if price <= seen.limit)])
        if target > least:
            target = min(up(target * (1 + self.headroom)), max(target, down(seen.limit)))
        if seen.bid < target and (not seen.active or self.headroom):
            return Decision("raise", standing, target, needs)
        price = self._lower(seen, target, needs) if seen.bid > target else None
        return Decision("hold" if price is None else "lower", standing, price, needs)

    def _doubts(self, seen: AuctionView, least: float) -> None:
        """Does a rival run that should not? Then more must be bid than calculated."""
        if not seen.rivals:
            self.doubt = 0.0
        needs = max([least, *(up(r.above * (1 + self.doubt)) for r in seen.rivals)])
        others_run = any(r.active for r in seen.rivals)
        if not seen.active and others_run and seen.bid >= needs and seen.at - self.set_at > _LAG_S:
            self.doubt = min(_MOST_DOUBT, self.doubt * 2 or _DOUBT)

    def _lower(self, seen: AuctionView, target: float, needs: float) -> float | None:
        """The price to lower the bid to, if it is to be lowered now."""
        if seen.at < self.lower_at or seen.least is None:
            return None
        price = target if self.step is None else max(target, up(seen.bid - self.step))
        gain = seen.bid - price
        if gain <= 0:
            return None
        most = seen.bid - up(seen.least)
        if self.step is not None:
            most = min(most, self.step)
        still = needs == self.needed and seen.at - self.needed_since >= STILL_S
        worth_it = gain >= WORTH_A_STEP * most or still or seen.bid > seen.limit
        return price if worth_it else None
