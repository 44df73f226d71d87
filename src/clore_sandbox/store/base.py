"""Protocols of the store's parts: a transaction, its rows, a driver. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Value = int | float | str | None


class AlreadyThere(Exception):  # noqa: N818 - an outcome, not a fault
    """A unique row exists already: another transaction was first."""


class Row(Protocol):
    """One row, by column name or number."""

    def __getitem__(self, key: str | int, /) -> Any:  # noqa: ANN401 - the column's value
        """The value of a column."""
        ...

    def keys(self) -> list[str]:
        """The columns' names."""
        ...


class Tx(Protocol):
    """One transaction, usable only inside the function it was given to."""

    def all(self, sql: str, *values: Value) -> list[Row]:
        """Every row of a query."""
        ...

    def one(self, sql: str, *values: Value) -> Row | None:
        """The first row of a query, or None."""
        ...

    def number(self, sql: str, *values: Value) -> int:
        """The single whole number of a query; 0 if it returns none."""
        ...

    def do(self, sql: str, *values: Value) -> int:
        """Change rows and return how many; `AlreadyThere` if a unique row exists."""
        ...


class Driver(Protocol):
    """A connection, used by the one thread that opened it."""

    def open(self) -> None:
        """Connect."""
        ...

    def carry_out(self, work: Callable[[Tx], T]) -> T:
        """One transaction: committed if `work` returns, rolled back if it raises."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...
