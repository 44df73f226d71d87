"""`AsyncRecords`: what was rented, what it costs, what ends it, and which hosts are avoided."""

from __future__ import annotations

from datetime import datetime
from math import inf

from clore_ai._async.calls import AsyncCalls
from clore_ai._state.hosts import Block
from clore_ai.models.records import USD_VALUE, Budget, BudgetStanding, Intent, Per
from clore_ai.rental import orders, reports


class AsyncRecords(AsyncCalls):
    """A client with the records of this machine: see ``state`` of the client.

    All of these raise `ConfigError` if the records can't be read or written.
    """

    async def costs(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        by: reports.costs.By | None = None,
        *,
        offline: bool = False,
    ) -> reports.costs.Report:
        """What was rented in a time and what it cost, fees included, as ``clore ledger`` shows it.

        Args:
            since: the begin; an order that ran before, too, counts by its share of the time.
            until: the end.
            by: totals for each ``"day"``, ``"gpu"``, ``"purpose"`` or ``"server"``, in `sums`.
            offline: go by what is known; send no request.

        Raises:
            AuthError: no key, or an unknown one.
        """
        begin = -inf if since is None else since.timestamp()
        end = inf if until is None else until.timestamp()
        return await self.drive(
            reports.costs.report(self._session, begin, end, by, offline=offline)
        )

    async def budgets(self) -> list[BudgetStanding]:
        """How each budget stands, after a look at the orders."""
        return await self.drive(reports.budgets.standings(self._session))

    async def set_budget(self, amount: float, per: Per, unit: str = USD_VALUE) -> None:
        """Refuse each order that would go over this budget, with `BudgetError`.

        Args:
            amount: the most that may be spent, fees included, in `unit`.
            per: ``"day"`` or ``"month"``, of the calendar in UTC.
            unit: ``"USD"`` for the worth of all coins; or a coin, e.g. ``"bitcoin"``.

        Raises:
            AuthError: no key.
            InvalidInputError: there is no such period or coin, or `amount` is below 0.
        """
        await self.drive(reports.budgets.set_budget(self._session, Budget(unit, per, amount)))

    async def unset_budgets(self, per: Per | None = None, unit: str | None = None) -> list[Budget]:
        """Remove the budgets of a period and a unit, or of any; the removed ones.

        Raises:
            AuthError: no key.
            NotFoundError: there is no such budget.
        """
        return await self.drive(reports.budgets.unset_budgets(self._session, per, unit))

    async def leases(self) -> list[reports.leases.Lease]:
        """When each order that runs ends; `clore` commands end it then (docs/spending.md)."""
        return await self.drive(reports.leases.leases(self._session))

    async def set_lease(self, order_id: int, hours: float | None) -> reports.leases.Lease:
        """Let an order end in so many hours from now; None: never.

        Raises:
            NotFoundError, OrderEnded: there is no such order, or it runs no more.
            BudgetError: the longer lease would go over a budget.
            InvalidInputError: `hours` is not above 0.
        """
        return await self.drive(reports.leases.change(self._session, order_id, hours, more=False))

    async def extend_lease(self, order_id: int, hours: float) -> reports.leases.Lease:
        """Let an order end so many hours later, or so many from now if its lease is over.

        Raises:
            NotFoundError, OrderEnded, BudgetError: as `set_lease`.
            InvalidInputError: `hours` is not above 0, or the order has no lease.
        """
        return await self.drive(reports.leases.change(self._session, order_id, hours, more=True))

    async def orphans(self) -> reports.orphans.Comparison:
        """The orders of the account that the ledger does not know, and the reverse."""
        return await self.drive(reports.orphans.compare(self._session))

    async def adopt(self, order_id: int | None = None) -> list[Intent]:
        """Add an order that was rented elsewhere, or all such orders, to the ledger.

        Raises:
            NotFoundError: no such order runs.
        """
        return await self.drive(orders.orphans.take_in(self._session, order_id))

    async def cancel_all(
        self, *, others: bool = False, issue: str | None = None, timeout: float = 60.0
    ) -> list[orders.cancel.Cancelling]:
        """Cancel all running orders of this ledger, as ``clore cancel --all``. What became of each.

        Returns once they are gone. In an entry, `gone` says whether the order has ended, `bill`
        what it cost, and `error` why it may still run: one that fails does not stop the others.

        Args:
            others: include orders that the ledger does not know: rented elsewhere.
            issue: what was wrong with the servers, for their hosts; up to 2,048 characters.
            timeout: seconds to wait until all are gone.

        Raises:
            CloreAPIError: the orders can't be read; nothing was cancelled.
            InvalidInputError: `issue` is too long; nothing was cancelled.
        """
        return await self.drive(
            orders.orphans.cancel_all(self._session, issue, timeout, others=others)
        )

    async def hosts(self) -> reports.hosts.KnownHosts:
        """What is known about the hosts that were rented from, and which are blocked."""
        return await self.drive(reports.hosts.known(self._session))

    async def block_hosts(self, *names: str, note: str | None = None) -> list[Block]:
        """Never rent from these until they are allowed again.

        Args:
            names: a server's id, or ``owner:ID`` for all servers of an owner.
            note: why.

        Raises:
            InvalidInputError: one is neither; none is blocked.
        """
        return await self.drive(reports.hosts.block(self._session, names, note))

    async def allow_hosts(self, *names: str) -> list[Block]:
        """Rent from these again, and forget their failures.

        Raises:
            InvalidInputError: as `block_hosts`.
        """
        return (await self.drive(reports.hosts.allow(self._session, names)))[0]
