"""Whose turn it is to send, and when. Pure: the time is passed in (004, Rate Limiter).

Who wants to send takes a ticket and looks until it is its turn. A ticket is a place in the order,
not a time: who goes late moves all others along, and who gives up lets them move up.

- Processes take turns: a ticket's round is one after the last of its own process, so a hundred
  calls of one do not hold up one call of another. Within a round, first come, first served.
- Who looks says when it will look again. Who then does not (killed, stopped, blocked) loses its
  place to the others, and has it back with its own next look: nobody needs to know who is alive.
- The service counts arrivals, and requests travel at uneven speed, so the distance keeps a margin.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from clore_ai._values.kinds import as_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

MARGIN = 0.08
"""Share of the interval kept in reserve: 0.93 of the allowed rate, 80 ms for uneven travel."""
PIECE_S = 0.5
"""The longest time between two looks while up to a hundred wait; more look more seldom."""
GRACE_S = 0.3
"""How late a look may be before the place is lost."""
HORIZON_S = 3600.0
"""A time further ahead than this was written before the machine was started anew."""
_NEVER = float("-inf")


class Ticket(NamedTuple):
    """A place in the order; `holder` names a process."""

    round: int
    number: int
    holder: str
    is_create_order: bool


class Gaps(NamedTuple):
    """Seconds that the service wants between two requests, and between two `create_order`."""

    any_s: float
    create_s: float


@dataclass
class Pace:
    """Who waits, and what went last; all times are on one clock that never jumps."""

    waiting: dict[Ticket, float] = field(default_factory=dict[Ticket, float])
    """Until when each will look again."""
    round: int = 0
    """That of the last ticket that went."""
    number: int = 0
    """That of the last ticket that was taken."""
    due: float = _NEVER
    """When the last one should have gone; it goes a little later, which the next makes up for."""
    sent: float = _NEVER
    created: float = _NEVER
    """When the last `create_order` was sent."""
    not_before: float = _NEVER

    def take(self, holder: str, *, is_create_order: bool) -> Ticket:
        """A new ticket; it counts from its first `look`."""
        self.number += 1
        own = (ticket.round for ticket in self.waiting if ticket.holder == holder)
        return Ticket(max(self.round, *own, 0) + 1, self.number, holder, is_create_order)

    def look(self, ticket: Ticket, gaps: Gaps, now: float) -> float:
        """Seconds after which to look again; 0: send now, the ticket is used up."""
        self.waiting = {t: back for t, back in self.waiting.items() if now <= back + GRACE_S}
        promised = self.waiting.setdefault(ticket, now)
        at = next(at for turn, at in self._turns(gaps, now) if turn == ticket)
        if at > now:
            pause = min(at - now, PIECE_S * max(1.0, len(self.waiting) / 100))
            self.waiting[ticket] = now + pause
            return pause
        del self.waiting[ticket]
        self.round = max(self.round, ticket.round)
        self.due = max(self._next(gaps), min(promised, now))
        self.went(now, is_create_order=ticket.is_create_order)
        return 0.0

    def leave(self, ticket: Ticket) -> None:
        """Give a ticket up."""
        self.waiting.pop(ticket, None)

    def went(self, now: float, *, is_create_order: bool) -> None:
        """A request went out just now: the next keeps its distance from it."""
        self.sent = now
        if is_create_order:
            self.created = now

    def hold(self, until: float) -> None:
        """Nobody sends before `until`."""
        self.not_before = max(self.not_before, until)

    def _next(self, gaps: Gaps) -> float:
        """From when on a request may go.

        Half the margin may be used to make up for one that went late; later, it is kept whole.
        """
        at = self.due + gaps.any_s * (1 + MARGIN)
        if at < self.sent + gaps.any_s * (1 + MARGIN / 2):
            at = self.sent + gaps.any_s * (1 + MARGIN)
        return max(at, self.not_before)

    def _turns(self, gaps: Gaps, now: float) -> Iterator[tuple[Ticket, float]]:
        """All who wait, in the order in which they may go, and when, if the first goes at once.

        A `create_order` that waits out its longer gap does not hold up what fits before it.
        """
        order = sorted(self.waiting)
        others = deque(ticket for ticket in order if not ticket.is_create_order)
        creates = deque(ticket for ticket in order if ticket.is_create_order)
        at = max(now, self._next(gaps))
        create_at = self.created + gaps.create_s * (1 + MARGIN)
        while others or creates:
            if creates and (not others or (create_at <= at and creates[0] < others[0])):
                at = max(at, create_at)
                yield creates.popleft(), at
                create_at = at + gaps.create_s * (1 + MARGIN)
            else:
                yield others.popleft(), at
            at += gaps.any_s * (1 + MARGIN)


def dump(pace: Pace) -> dict[str, Any]:
    """As JSON holds it."""
    return {**vars(pace), "waiting": [[*ticket, back] for ticket, back in pace.waiting.items()]}


def load(data: object, now: float) -> Pace:
    """What `dump` made; None: nothing yet.

    Of what is damaged, or from before the machine was started anew, nothing is believed: as if
    one had been sent just now.
    """
    if data is None:
        return Pace()
    fields = as_dict(data) or {}
    try:
        pace = Pace(
            {
                Ticket(int(number), int(count), str(holder), bool(create)): float(back)
                for number, count, holder, create, back in fields["waiting"]
                if float(back) <= now + HORIZON_S
            },
            int(fields["round"]),
            int(fields["number"]),
            *(float(fields[name]) for name in ("due", "sent", "created", "not_before")),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return Pace(sent=now, created=now)
    if not (max(pace.due, pace.sent, pace.created) <= now and pace.not_before <= now + HORIZON_S):
        return Pace(sent=now, created=now)
    return pace
