"""What `Rental` and `AsyncRental` share: the order, its events and its limits."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Generic, TypeVar

from clore_ai import _windows, jobs
from clore_ai._api.steps import Flow, clock, local
from clore_ai._ssh.target import Target
from clore_ai.exceptions import (
    CloreAPIError,
    ConfigError,
    InvalidInputError,
    LimitReached,
    WaitTimeout,
)
from clore_ai.models import Order
from clore_ai.models.records import RentEvent, RentEventKind
from clore_ai.rental import machine, rent
from clore_ai.rental.limits import enforce
from clore_ai.rental.machine import Result
from clore_ai.rental.orders import ending
from clore_ai.rental.session import Session

D = TypeVar("D")
_log = logging.getLogger("clore_ai")
_SSH_FAILED = 255


class RentalBase(Generic[D]):
    """A rental with a driver of the kind `D`."""

    def __init__(
        self,
        driver: D,
        session: Session,
        wish: rent.wish.Wish,
        on_event: rent.attempt.OnEvent | None = None,
        rents: Callable[[Session, rent.wish.Wish, rent.attempt.OnEvent], Flow[rent.attempt.Rented]]
        | None = None,
    ) -> None:
        self._rents = rents or rent.rent.rent
        self._driver, self._session, self._wish, self._on_event = driver, session, wish, on_event
        self._rented: rent.attempt.Rented | None = None
        self.events: list[RentEvent] = []
        """Everything that happened: each attempt and why it failed; later, the rental's limits."""
        self._keeper = enforce.Keeper()
        self._reached: LimitReached | None = None
        self._why = ending.CANCELLED
        self._left_at: float | None = None
        self._has_limits = False
        """Is there a limit to keep while it is used?"""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(order_id={self.order_id})"

    @property
    def order(self) -> Order:
        """The order, as it was when it was rented.

        Raises:
            InvalidInputError: nothing is rented yet: use a `with` block, or call `start`.
        """
        return self._need().order

    @property
    def order_id(self) -> int | None:
        """The order's id as soon as there is one, even if the order was rejected."""
        if self._rented is not None:
            return self._rented.order.id
        return next((e.order_id for e in reversed(self.events) if e.order_id is not None), None)

    @property
    def ssh_command(self) -> str:
        """A shell command that opens a shell on the machine, with the order's key."""
        return shlex.join(self._target().ssh())

    def _flow(self) -> Flow[None]:
        _windows.refuse("A verified rental")
        self._rented = yield from self._rents(self._session, self._wish, self._note)
        yield from local(self._entered)
        yield from clock()  # what stopped it meanwhile is raised here

    def _entered(self) -> None:
        """Look up the way in, and whether there is a limit to keep."""
        rented, session = self._need(), self._session
        self._keeper.order_id = rented.order.id
        with suppress(ConfigError):
            self._has_limits = bool(self._keeper.leased(session))
        if rented.target is None and rented.order.active:
            with suppress(InvalidInputError):  # it has no address yet
                self._rented = replace(rented, target=session.access.target(rented.order))

    def _note(self, event: RentEvent) -> None:
        self.events.append(event)
        if self._on_event is not None:
            self._on_event(event)

    def _need(self) -> rent.attempt.Rented:
        if self._rented is None:
            raise InvalidInputError("Nothing is rented yet: use a `with` block, or start it.", 2)
        return self._rented

    def _target(self) -> Target:
        rented = self._need()
        if self._reached is not None:
            raise self._reached
        return rented.target or self._session.access.target(rented.order)

    @contextmanager
    def _working(self) -> Generator[Target]:
        """The SSH target; a failure in the block that a limit caused raises `LimitReached`."""
        target = self._target()
        try:
            yield target
        except CloreAPIError as exc:
            if self._reached is not None:
                raise self._reached from exc
            raise

    def _result(self, result: Result) -> Result:
        if result.code == _SSH_FAILED and self._reached is not None:
            raise self._reached
        return result

    def _look(self) -> Flow[bool]:
        """Check its limits; true if it has reached one and was cancelled."""
        near, over = yield from self._keeper.check(self._session)
        for limit in near:
            self._report("near", enforce.near(limit))
        if over and self._reached is None:
            self._reached = enforce.reached(over[0])
            self._why = ending.of_limit(over[0].reason)
            self._report("limit", f"{over[0]}; the order is cancelled.")
        if self._reached is None:
            return False
        if (yield from self._left_to_its_job()):
            return False
        try:
            yield from machine.finish(self._session, self.order, self._why)
        except CloreAPIError as exc:
            _log.warning("%s", exc)
            return not isinstance(exc, WaitTimeout)  # else the cancel is retried
        return True

    def _left_to_its_job(self) -> Flow[bool]:
        """Will a job of `client.run` end it, with its outputs fetched? The wait is bounded."""
        now = (yield from clock()).mono
        self._left_at = now if self._left_at is None else self._left_at
        if now - self._left_at > enforce.GRACE_S:
            return False
        with suppress(ConfigError):
            return self.order.id in (yield from local(jobs.Jobs.of(self._session).watched_orders))
        return False

    def _report(self, what: RentEventKind, message: str) -> None:
        order = self.order
        _log.warning("%s", message)
        self._note(RentEvent(what, 1, order.server_id or 0, order.id, message, message=message))
