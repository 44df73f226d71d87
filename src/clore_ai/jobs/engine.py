"""Runs flows in the event loop of a job that is watched, at the pace of its client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, TypeVar

from clore_ai._api import steps

if TYPE_CHECKING:
    from clore_ai._api.steps import Flow
    from clore_ai._io.async_driver import AsyncDriver
    from clore_ai.rental.session import Session

T = TypeVar("T")


class Engine:
    """What `jobs` needs of a client, sync or async.

    Args:
        session: the client's.
        driver: the driver of the running event loop.
    """

    def __init__(self, session: Session, driver: AsyncDriver) -> None:
        self.session, self._driver = session, driver

    async def drive(self, flow: Flow[T]) -> T:
        """Run a flow, and return its result."""
        return await self._driver.run(flow)

    async def local(self, work: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 - of `work`
        """Run `work` to its end; a cancellation is raised by a later await."""
        return await self.drive(steps.local(work, *args))
