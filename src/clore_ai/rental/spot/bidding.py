"""What to bid: a view of the auction in, a decision out; and what is known from one to the next.

Pure, and a state object: `see` takes what was read, `accepted` and `refused` what became of a bid.

- The bid is one tick above the highest rival that can be beaten within the limit, and never below
  the host's least. At the limit an equal bid is enough for the older order.
- Raising is free: it is done as soon as the order is seen to be outbid.
- Lowering goes by at most `max_step`, once in 600 s (service.md, 1). The first refusal says how far
  a step goes. A bid is lowered only if that puts nobody ahead. A small gain waits until the rivals
  have kept still: it would stop a bigger one for 600 s.
- What can't be beaten is waited out, with the bid just above the rivals that can: when the highest
  leaves, the order runs at once, and at a low price.
- The service's word counts more than this reckoning: if an order runs that the bid should beat,
  the bid goes up by a share, until it does.
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
"""A lowering by less than this share of what one may take off waits until rivals keep still."""
STILL_S = 600.0
_LATE_S = 1.0
"""On top of the 600 s: the service counts from its own clock."""
_LAG_S = 30.0
"""How long a new bid may take to show in who runs."""
_DOUBT, _MOST_DOUBT = 0.005, 0.25

Action = Literal["hold", "raise", "lower"]
BidState = Literal["runs", "outbid", "beaten", "waits", "offline", "refused"]


@dataclass(frozen=True)
class Decision:
    """What to do now. `price`: the new bid, coin per **day**; None to hold.

    `standing`: ``runs``; ``outbid``: it will run at `price`; ``beaten``: the limit is outbid;
    ``waits``: no bid helps, as with somebody on demand; ``offline``: the host; ``refused``: the
    host takes the coin no more.
    """

    action: Action
    standing: BidState
    price: float | None = None
    needs: float | None = None
    """The lowest bid that would win now; more than the limit where it is ``beaten``."""


@dataclass
class Autobid:
    """What is known of one order's auction, from look to look; kept as JSON between commands."""

    bid: float | None = None
    """As last seen or set, coin per **day**."""
    lower_at: float = 0.0
    """When it may be lowered again, unix seconds."""
    step: float | None = None
    """The most that one lowering takes off; None until a refusal said it."""
    headroom: float = 0.0
    """A share by which to stay above the highest rival, so as to be outbid less often."""
    doubt: float = 0.0
    """A share by which more must be bid than was reckoned: somebody else ran all the same."""
    set_at: float = 0.0
    """When the bid was last set."""
    needed: float | None = None
    """The lowest winning bid of the last look, and since when it was that."""
    needed_since: float = 0.0
    active: bool | None = None
    """At the last look."""
    seen_at: float | None = None
    since: float | None = None
    """The first look."""
    idle_since: float | None = None
    """Since when it has not run; None while it does."""
    seen_s: float = 0.0
    held_s: float = 0.0
    """Of `seen_s`, for how long it ran, as far as the looks show."""
    outbids: int = 0
    """How often it was seen to run no more."""
    raised: int = 0
    lowered: int = 0
    on_demand: float = 0.0
    """What the time held would have cost on demand, in the coin, without fees."""
    at_bids: float = 0.0
    """What it comes to at the bids of that time; the service bills whole minutes instead."""
    spend_before: float | None = None
    """`spend` of the order at the first look."""
    _seen: AuctionView | None = field(default=None, repr=False)

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {k: v for k, v in asdict(self).items() if not k.startswith("_") and v is not None}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Autobid:
        """What `dump` made; what is damaged is as if nothing was kept."""
        known = {f.name for f in fields(cls) if not f.name.startswith("_")}
        found = cls()
        for name, value in kept.items():
            if name == "active":
                found.active = value if isinstance(value, bool) else None
            elif name in known and (number := as_number(value)) is not None:
                whole = name in ("outbids", "raised", "lowered")
                setattr(found, name, int(number) if whole else number)
        if "at_bids" not in kept:  # of an earlier version; the two are of one time
            found.on_demand = 0.0
        return found

    def on_demand_for(self, spend: float, on_demand_per_day: float) -> float:
        """What the time that cost `spend` would have cost on demand: the same ticks on both sides.

        `on_demand_per_day`: its price now, for when nothing was held between two looks yet.
        """
        if self.at_bids:
            return spend * self.on_demand / self.at_bids
        return spend * on_demand_per_day / self.bid if self.bid else 0.0

    def see(self, seen: AuctionView, on_demand_per_day: float | None = None) -> Decision:
        """Take note of a look, and decide. `on_demand_per_day`: the list price, in the coin."""
        self._tally(seen, on_demand_per_day)
        if self.bid is not None and seen.bid < self.bid:
            # Somebody else lowered it, or a lowering whose answer was lost: at the latest now.
            self.lower_at = max(self.lower_at, seen.at + LOWERING_S + _LATE_S)
        self.bid = seen.bid
        self._seen = seen
        decision = self._decide(seen)
        needs = decision.needs
        if needs != self.needed:
            self.needed, self.needed_since = needs, seen.at
        return decision

    def again(self, at: float) -> Decision:
        """Decide once more on the last look, after a refusal taught something.

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
        """The service took this bid, at this time or before."""
        if self.bid is not None and price < self.bid:
            self.lower_at = at + LOWERING_S + _LATE_S
            self.lowered += 1
        elif self.bid is None or price > self.bid:
            self.raised += 1
        self.bid, self.set_at = price, at

    def refused(self, error: FieldError, price: float, at: float) -> bool:
        """The service did not take it; True if another bid may be taken at once."""
        if error.error == "can_lower_every_600_seconds":
            left_s = error.lowering_in_s
            self.lower_at = at + (LOWERING_S if left_s is None else left_s) + _LATE_S
        elif error.error == "exceeded_max_step":
            tried = max(0.0, (self.bid or price) - price)
            most = error.max_step
            # A step that makes no difference would be refused for ever.
            self.step = most if most is not None and 0 < most < tried else tried / 2
            return self.step >= 1 / TICKS
        return False

    def _tally(self, seen: AuctionView, on_demand_per_day: float | None) -> None:
        runs = seen.active and seen.online
        if self.seen_at is not None and seen.at > self.seen_at:
            passed = seen.at - self.seen_at
            # In between it changed somewhere: half of the time is as good a guess as any.
            held = passed * (bool(self.active) + runs) / 2
            self.seen_s, self.held_s = self.seen_s + passed, self.held_s + held
            if on_demand_per_day is not None:
                self.on_demand += on_demand_per_day * held / DAY_S
                # The bid as it was meanwhile: what this look shows is from now on.
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
        # Above all that can be beaten.
        target = max([least, *(price for price in above if price <= seen.limit)])
        if target > least:
            target = min(up(target * (1 + self.headroom)), max(target, down(seen.limit)))
        if seen.bid < target and (not seen.active or self.headroom):
            return Decision("raise", standing, target, needs)
        price = self._lower(seen, target, needs) if seen.bid > target else None
        return Decision("hold" if price is None else "lower", standing, price, needs)

    def _doubts(self, seen: AuctionView, least: float) -> None:
        """Does somebody run who should not? Then more must be bid than was reckoned."""
        if not seen.rivals:
            self.doubt = 0.0
        needs = max([least, *(up(r.above * (1 + self.doubt)) for r in seen.rivals)])
        others_run = any(r.active for r in seen.rivals)
        if not seen.active and others_run and seen.bid >= needs and seen.at - self.set_at > _LAG_S:
            self.doubt = min(_MOST_DOUBT, self.doubt * 2 or _DOUBT)

    def _lower(self, seen: AuctionView, target: float, needs: float) -> float | None:
        """What to lower the bid to, if now."""
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
