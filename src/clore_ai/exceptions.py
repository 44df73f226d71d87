"""Every error a call can raise; all inherit from `CloreAPIError` (004, Exceptions).

CloreAPIError
├── DBError                code 1: the service failed, but may have acted
├── InvalidInputError      code 2: refused by the service, or here before it was sent
├── AuthError              code 3: no key, or the service does not know it
├── InvalidEndpointError   code 4
├── RateLimitError         code 5: still refused after `max_retries` waits
├── FieldError             code 6: the reason is in `error`, e.g. "server-already-rented"
├── ResponseError          an answer in a form that the service is not known to send
│   └── OrderUnlisted      an order that the service does not list now; it may still run
├── TransportError         no answer; `maybe_acted`: could the service have acted?
├── NotFoundError          an order or a server that is not in the service's lists
│   └── NoOffer            no server meets a wish; carries `no_match`
├── RentFailed             every server that was tried failed; carries `attempts`
├── ConfigError            a config file or setting that cannot be used
├── BudgetError            over a budget or a limit, so nothing was rented; carries `standing`
├── LimitReached           an order that was cancelled at its lease's end or cost limit
├── OrderEnded             an order that ended while it was waited for; carries `order`
├── WaitTimeout            a wait that passed its deadline; carries `order`
└── OrderUncertain         an order that may exist and be billed; carries `intent`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clore_ai._values.kinds import as_number
from clore_ai._values.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai.models import Order
    from clore_ai.models.records import BudgetStanding, Intent, NoMatch, RentEvent

__all__ = [
    "ERROR_MAP",
    "AuthError",
    "BudgetError",
    "CloreAPIError",
    "ConfigError",
    "DBError",
    "FieldError",
    "InvalidEndpointError",
    "InvalidInputError",
    "LimitReached",
    "NoOffer",
    "NotFoundError",
    "OrderEnded",
    "OrderUncertain",
    "OrderUnlisted",
    "RateLimitError",
    "RentFailed",
    "ResponseError",
    "TransportError",
    "WaitTimeout",
]


_LONGEST = 10_000
"""The most characters in a message, quotations included."""


class CloreAPIError(Exception):
    """What failed, with which id, and what to do next; on one line, and fit to print.

    Attributes:
        code: the service's code (1-6), or None if no answer carried one.
        response: the service's answer, its texts fit to print, or None.
        error: the service's reason, such as ``"server-already-rented"``, or None (service.md, 1).
        status: the HTTP status, or None if there was no answer.
        maybe_acted: True if the service may have acted on the request despite the error.
    """

    def __init__(
        self,
        message: str,
        code: int | None = None,
        response: dict[str, Any] | None = None,
        *,
        status: int | None = None,
        maybe_acted: bool = False,
    ) -> None:
        super().__init__(one_line(message, _LONGEST))
        self.code = code
        self.response = response
        self.status = status
        self.maybe_acted = maybe_acted
        reason = (response or {}).get("error")
        self.error: str | None = reason if isinstance(reason, str) else None


class DBError(CloreAPIError):
    """Code 1: the service failed. It may still have acted on the request (service.md, 3)."""


class InvalidInputError(CloreAPIError):
    """Code 2: the input is refused. Nothing was done."""


class AuthError(CloreAPIError):
    """Code 3: there is no API key, or the service does not know it. Nothing was done."""


class InvalidEndpointError(CloreAPIError):
    """Code 4: the service has no such endpoint; the base URL is usually wrong."""


class RateLimitError(CloreAPIError):
    """Code 5: too many requests, even after `max_retries` retries."""


class FieldError(CloreAPIError):
    """Code 6: refused for the reason in `error`; `response` is the whole answer."""

    @property
    def max_step(self) -> float | None:
        """With ``exceeded_max_step``: the largest step of a lowering, in coin per **day**."""
        return as_number((self.response or {}).get("max_step"))

    @property
    def lowering_in_s(self) -> float | None:
        """With ``can_lower_every_600_seconds``: how many seconds until the bid can be lowered."""
        return as_number((self.response or {}).get("time_to_lowering"))


class ResponseError(CloreAPIError):
    """An answer that is not JSON, or lacks an expected value."""


class OrderUnlisted(ResponseError):  # noqa: N818 - what happened
    """The service does not list an order that is known to run. It may still run and be billed."""


class TransportError(CloreAPIError):
    """No answer came. `maybe_acted` is False only if the request certainly never arrived."""


class NotFoundError(CloreAPIError):
    """The service lists no such order or server."""


class NoOffer(NotFoundError):  # noqa: N818 - what happened
    """No server meets the wish.

    `no_match` says how many servers each condition left, and what would match.
    """

    def __init__(self, message: str, no_match: NoMatch) -> None:
        super().__init__(message)
        self.no_match = no_match

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.no_match), self.__dict__


class RentFailed(CloreAPIError):  # noqa: N818 - what happened
    """Every server that was tried failed; none of the orders still runs.

    `attempts` are the events of `rental.rent`: each attempt, and the reason for each failure.
    """

    def __init__(self, message: str, attempts: Sequence[RentEvent]) -> None:
        super().__init__(message)
        self.attempts = tuple(attempts)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.attempts), self.__dict__


class ConfigError(CloreAPIError):
    """A config file or a setting that cannot be used; the message names it."""


class BudgetError(CloreAPIError):
    """The cost would exceed a budget or a limit, or is unknown. Nothing was done.

    `standing` is the budget's state, or None if it was the order's own limit. `wanted` is the
    amount that was requested, in the budget's unit.
    """

    def __init__(
        self, message: str, *, standing: BudgetStanding | None = None, wanted: float | None = None
    ) -> None:
        super().__init__(message)
        self.standing = standing
        self.wanted = wanted


class LimitReached(CloreAPIError):  # noqa: N818 - what happened
    """An order was cancelled at its limit: its lease, or its cost limit.

    `order_id` is the order's. It no longer runs unless the message says otherwise.
    """

    order_id: int | None = None


class OrderEnded(CloreAPIError):  # noqa: N818 - what happened, as 004's users would say it
    """An order ended while it was waited for.

    `order` is its last known state. `reason` says why it ended, as `clore ledger` shows it, or is
    None.
    """

    def __init__(self, message: str, order: Order, reason: str | None = None) -> None:
        super().__init__(message)
        self.order = order
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.order), self.__dict__


class WaitTimeout(CloreAPIError):  # noqa: N818 - likewise
    """A deadline passed. `order` still exists and is billed until it is cancelled."""

    def __init__(self, message: str, order: Order) -> None:
        super().__init__(message)
        self.order = order

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.order), self.__dict__


class OrderUncertain(CloreAPIError):  # noqa: N818 - likewise
    """An order may have been created and be billed, but was not found in `my_orders`.

    Raised by `create_order` if the answer is inconclusive (a timeout, a cut connection, HTTP 500)
    and no matching order appeared within 30 s. `intent` says what was requested and when. Check
    `my_orders` before you send the order again.
    """

    def __init__(self, message: str, intent: Intent) -> None:
        super().__init__(message, maybe_acted=True)
        self.intent = intent

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.intent), self.__dict__


ERROR_MAP: dict[int, type[CloreAPIError]] = {
    1: DBError,
    2: InvalidInputError,
    3: AuthError,
    4: InvalidEndpointError,
    5: RateLimitError,
    6: FieldError,
}
