"""What the store's parts share: a transaction, its rows, a driver. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Value = int | float | str | None


class AlreadyThere(Exception):  # noqa: N818 - a finding, not a fault: the row was there first
    """A unique row exists: somebody else's claim."""


class Row(Protocol):
    """One row, by column name or number."""

    def __getitem__(self, key: str | int, /) -> Any:  # noqa: ANN401 - what the column holds
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
        """The single whole number of a query; 0 where there is none."""
        ...

    def do(self, sql: str, *values: Value) -> int:
        """Change rows; how many were. `AlreadyThere` where a unique row stands in the way."""
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
