"""Transactions in PostgreSQL, with the same rows, values and errors as in SQLite."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from psycopg import Connection, RawCursor, errors
from psycopg.types.numeric import Int8Dumper, NumericLoader
from psycopg.types.string import StrDumperUnknown

from clore_sandbox.store.base import AlreadyThere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_sandbox.store.base import Row, Value

__all__ = ["Carefully", "PostgresTx", "adapt"]


def adapt(connection: Connection[Any]) -> None:
    """Let a connection convert values as SQLite does."""
    # Whole numbers always as 64 bits, so that a statement is prepared once.
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(bool, Int8Dumper)
    connection.adapters.register_dumper(str, _Text)
    connection.adapters.register_loader("numeric", _Whole)


class Carefully(BaseException):
    """A unique row exists: the work must be repeated with savepoints.

    A BaseException, so that no `except Exception` in the work catches it.
    """


class _Text(StrDumperUnknown):
    """Text without NUL, which PostgreSQL cannot store."""

    def dump(self, obj: str) -> Any:  # noqa: ANN401 - psycopg's buffer type
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))


class _Whole(NumericLoader):
    """A sum of whole numbers is an int, as in SQLite; PostgreSQL returns a decimal."""

    def load(self, data: Any) -> Any:  # noqa: ANN401 - psycopg's buffer type
        number = super().load(data)
        return int(number) if number == int(number) else number


class _Row:
    """One row, by column name or number."""

    __slots__ = ("_at", "_values")

    def __init__(self, at: dict[str, int], values: Sequence[Any]) -> None:
        self._at = at
        self._values = values

    def __getitem__(self, key: str | int, /) -> Any:  # noqa: ANN401 - the column's value
        return self._values[self._at[key] if isinstance(key, str) else key]

    def keys(self) -> list[str]:
        return list(self._at)


@lru_cache(maxsize=1_000)
def _numbered(sql: str) -> bytes:
    """The statement with `$1`, `$2` … for each `?` outside of quoted text."""
    parts = sql.split("'")
    count = 0
    for number in range(0, len(parts), 2):
        pieces = parts[number].split("?")
        parts[number] = pieces[0]
        for piece in pieces[1:]:
            count += 1
            parts[number] += f"${count}{piece}"
    return "'".join(parts).encode()


class PostgresTx:
    """One transaction: the calls of `store.Tx`.

    Args:
        connection: One with an open transaction.
        columns: A cache of columns by SQL, since psycopg takes longer for a description than for
            a row.
        carefully: Whether each change gets a savepoint.
    """

    def __init__(
        self, connection: Connection[Any], columns: dict[str, dict[str, int]], *, carefully: bool
    ) -> None:
        self._cursor = RawCursor(connection)
        self._columns = columns
        self._carefully = carefully

    def _execute(self, sql: str, values: Sequence[Value]) -> RawCursor[tuple[Any, ...]]:
        return self._cursor.execute(_numbered(sql), values or None)

    def _at(self, sql: str) -> dict[str, int]:
        """The position of each column of the last query."""
        at = self._columns.get(sql)
        if at is None:
            names = [column.name for column in self._cursor.description or ()]
            at = self._columns[sql] = {name: number for number, name in enumerate(names)}
        return at

    def all(self, sql: str, *values: Value) -> list[Row]:
        """Every row of a query."""
        rows = self._execute(sql, values).fetchall()
        at = self._at(sql)
        return [_Row(at, row) for row in rows]

    def one(self, sql: str, *values: Value) -> Row | None:
        """The first row of a query, or None."""
        row = self._execute(sql, values).fetchone()
        return None if row is None else _Row(self._at(sql), row)

    def number(self, sql: str, *values: Value) -> int:
        """The single whole number of a query; 0 if it returns none."""
        row = self.one(sql, *values)
        return int(row[0]) if row is not None and row[0] is not None else 0

    def do(self, sql: str, *values: Value) -> int:
        """Change rows and return how many; raises `AlreadyThere`, or `Carefully` the first time."""
        if not self._carefully:
            try:
                return self._execute(sql, values).rowcount
            except errors.IntegrityError as exc:
                raise Carefully from exc
        self._cursor.execute("SAVEPOINT before")
        try:
            changed = self._execute(sql, values).rowcount
        except errors.IntegrityError as exc:
            self._cursor.execute("ROLLBACK TO before")
            raise AlreadyThere(exc.diag.message_primary or "a unique row exists") from exc
        self._cursor.execute("RELEASE before")
        return changed
