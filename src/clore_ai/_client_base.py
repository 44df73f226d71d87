"""What both clients share: settings, session, pace, and the event loop of a job."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from clore_ai._api.steps import DEADLINE_S, Rules
from clore_ai._state.folder import folder_of
from clore_ai._state.ledger import Ledger
from clore_ai._values.secrets import hide
from clore_ai.config import DEFAULT_BASE_URL, Settings, changed, resolve
from clore_ai.jobs.engine import Engine
from clore_ai.rate_limiter import RateLimiter
from clore_ai.rental.session import Session, opened

if TYPE_CHECKING:
    from clore_ai._io.async_driver import AsyncDriver  # imports asyncio, which is slow
    from clore_ai._io.driver import Driver

D = TypeVar("D")
T = TypeVar("T")
_log = logging.getLogger("clore_ai")


@cache
def warn_per_hour() -> None:
    """Log once per process that ``max_price_usd`` is per hour; in 0.1.1 it was per day.

    A log line and not a `Warning`: the call is right, and tests run with ``-W error``.
    """
    _log.warning(
        "max_price_usd is in USD per hour since clore-ai 0.2; 0.1.1 took it per day, so divide "
        "an older value by 24. To hide this: logging.getLogger('clore_ai').setLevel('ERROR')."
    )


async def in_this_loop(
    driver: AsyncDriver,
    engine: Callable[[AsyncDriver], Engine],
    work: Callable[[Engine], Awaitable[T]],
) -> T:
    """The result of `work`, which watches a job, in the running event loop."""
    return await work(engine(driver))


def in_own_loop(
    driver: Driver,
    engine: Callable[[AsyncDriver], Engine],
    work: Callable[[Engine], Awaitable[T]],
) -> T:
    """The result of `work`, which watches a job, in an event loop of its own."""
    return driver.in_loop(lambda beside: work(engine(beside)))


class ClientBase(Generic[D]):
    """A client with a driver of the kind `D`."""

    BASE_URL: ClassVar[str] = DEFAULT_BASE_URL
    """The real service's address; a subclass may set another default."""

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
        own = None if self.BASE_URL == DEFAULT_BASE_URL else self.BASE_URL
        self._settings = resolve(api_key, base_url or own)
        self._timeout_s = timeout
        self._folder = folder_of(state)
        deadline_s = float("inf") if deadline is None else deadline
        rules = Rules(bool(self._settings.api_key), max_retries, deadline_s)
        self._former: list[D] = []
        """The drivers from before settings were changed; closed with the client."""
        self._session, pace = opened(self._settings, self._folder, rules)
        self._limiter = RateLimiter.at_pace(self._settings.requests_per_second, shared=pace)
        self._driver: D = self._kind(self._settings, timeout, self._limiter)

    def __repr__(self) -> str:
        # A traceback may show a client whose constructor failed.
        settings: Settings | None = vars(self).get("_settings")
        return f"{type(self).__name__}(base_url={settings and settings.base_url!r})"

    @property
    def api_key(self) -> str | None:
        """The API key. A new one takes effect with the next call, as does its ledger."""
        return self._settings.api_key

    @api_key.setter
    def api_key(self, api_key: str | None) -> None:
        self._change(changed(self._settings, hide(api_key), self.base_url))

    @property
    def base_url(self) -> str:
        """The address of the service. A new one takes effect with the next call."""
        return self._settings.base_url

    @base_url.setter
    def base_url(self, base_url: str) -> None:
        self._change(changed(self._settings, self.api_key, base_url))

    @property
    def timeout(self) -> float:
        """Seconds that each wait for the network may take."""
        return self._timeout_s

    @timeout.setter
    def timeout(self, timeout: float) -> None:
        if timeout <= 0:
            raise ValueError("timeout must be above 0")
        self._timeout_s = timeout
        self._drive_anew()

    @property
    def max_retries(self) -> int:
        """How often a call may be sent again."""
        return self._session.rules.max_retries

    @max_retries.setter
    def max_retries(self, max_retries: int) -> None:
        if max_retries < 0:
            raise ValueError("max_retries must be 0 or more")
        self._session.rules = replace(self._session.rules, max_retries=max_retries)

    @property
    def rate_limiter(self) -> RateLimiter:
        """The pace of all calls."""
        return self._limiter

    @rate_limiter.setter
    def rate_limiter(self, rate_limiter: RateLimiter) -> None:
        self._limiter = rate_limiter
        self._drive_anew()

    def _change(self, settings: Settings) -> None:
        """Use these settings from now on; calls in progress keep the old ones."""
        if settings == self._settings:
            return
        self._session.close()  # a call in progress opens its files again
        rules, was = self._session.rules, self._limiter
        self._settings = settings
        self._session, pace = opened(
            settings, self._folder, replace(rules, has_key=bool(settings.api_key))
        )
        self._limiter = RateLimiter.at_pace(settings.requests_per_second, shared=pace)
        self._limiter.min_interval = was.min_interval
        self._limiter.create_order_delay = was.create_order_delay
        self._limiter.alone = was.alone
        self._drive_anew()

    def _drive_anew(self) -> None:
        self._former.append(self._driver)
        self._driver = self._kind(self._settings, self._timeout_s, self._limiter)

    def _engine(self, driver: AsyncDriver) -> Engine:
        """The engine that runs jobs in the event loop of `driver`."""
        return Engine(self._session, driver)

    @property
    def session(self) -> Session:
        """The session that this client's flows share."""
        return self._session

    @property
    def ledger(self) -> Ledger:
        """The record of this client's attempts to rent, and of their outcomes.

        Its methods may wait for another process: in an event loop call them in a thread
        (`asyncio.to_thread`).
        """
        return self._session.ledger
