"""What both clients are made of: settings, session and pace; what they do is one line a method."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from clore_ai._flow import DEADLINE_S, Rules
from clore_ai._secrets import hide
from clore_ai.config import folder_of, resolve
from clore_ai.jobs.engine import Engine
from clore_ai.ledger import account_of
from clore_ai.rate_limiter import RateLimiter
from clore_ai.rental.session import Session, opened

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai._drive import AsyncDriver
    from clore_ai.ledger import Ledger

D = TypeVar("D")
_log = logging.getLogger("clore_ai")


@cache
def say_per_hour() -> None:
    """Log, once a process, that ``max_price_usd`` is per hour: in 0.1.1 it meant a day.

    A log line and not a `Warning`: the call is right, and tests run with ``-W error``.
    """
    _log.warning(
        "max_price_usd is in USD per hour since clore-ai 0.2; 0.1.1 took it per day, so divide a "
        "value from there by 24. To hide this: logging.getLogger('clore_ai').setLevel('ERROR')."
    )


class Facade(Generic[D]):
    """A client with a driver of the kind `D`."""

    _kind: ClassVar[type[Any]]

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float = 30.0,
        max_retries: int = 3,
        *,
        state: str | Path | bool | None = None,
        deadline: float | None = DEADLINE_S,
    ) -> None:
        api_key = hide(api_key)
        if max_retries < 0 or timeout <= 0 or (deadline is not None and deadline <= 0):
            raise ValueError("max_retries must be 0 or more, timeout and deadline above 0")
        settings = resolve(api_key, base_url)
        self.api_key = settings.api_key
        self.base_url = settings.base_url
        self.timeout = timeout
        self.max_retries = max_retries
        deadline_s = float("inf") if deadline is None else deadline
        rules = Rules(bool(settings.api_key), max_retries, deadline_s)
        self._session, pace = opened(settings, folder_of(state), rules)
        self.rate_limiter = RateLimiter.at_pace(settings.requests_per_second, shared=pace)
        self._driver: D = self._kind(settings, timeout, self.rate_limiter)

    def __repr__(self) -> str:
        # A traceback may show one whose making failed.
        return f"{type(self).__name__}(base_url={vars(self).get('base_url')!r})"

    def _engine(self, driver: AsyncDriver) -> Engine:
        """What runs jobs in the event loop of `driver`."""
        return Engine(self._session, driver, account_of(self.base_url, self.api_key))

    @property
    def session(self) -> Session:
        """What this client's flows share."""
        return self._session

    @property
    def ledger(self) -> Ledger:
        """What this client tried to rent, and what became of it."""
        return self._session.ledger
