"""Bounds on an answer, in bytes and in time: whatever a server sends, reading it comes to an end.

A time-out of httpx is for each read: a server that sends a byte every second never meets it. A
compressed answer of 300 kB may hold 300 MB.
"""

from __future__ import annotations

import math
import time
import zlib
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Generator

MOST_BYTES = 64 << 20
"""Of one answer, compressed or not; a marketplace of 2,200 servers is some 3 MB."""
_GZIP = zlib.MAX_WBITS | 16
_until: ContextVar[float] = ContextVar("until")
"""When the request of this thread or task must be over, by the monotonic clock."""


class Body:
    """The body of an answer, put together from its pieces as they come.

    Unpacked here and not by httpx, which unpacks a whole piece at once, however much that gives.
    Only gzip is asked for, so only that is unpacked.
    """

    def __init__(self, encoding: str) -> None:
        zipped = encoding.strip().lower() in ("gzip", "x-gzip")
        self._gzip = zlib.decompressobj(_GZIP) if zipped else None
        self._pieces: list[bytes] = []
        self._came = self._size = 0
        self.whole = True
        """False once there was more than `MOST_BYTES`: then the content is its beginning."""

    def add(self, piece: bytes) -> bool:
        """Take what came; False where that is more than an answer may hold.

        Raises:
            httpx.DecodingError: it is not the gzip that it says it is.
        """
        self._came += len(piece)
        if self._gzip is not None:
            try:
                piece = self._gzip.decompress(piece, MOST_BYTES + 1 - self._size)
            except zlib.error as exc:
                raise httpx.DecodingError(str(exc)) from exc
        self._pieces.append(piece)
        self._size += len(piece)
        self.whole = max(self._came, self._size) <= MOST_BYTES
        return self.whole

    @property
    def content(self) -> bytes:
        """All that came."""
        return b"".join(self._pieces)


@contextmanager
def within(seconds: float) -> Generator[None]:
    """Let the requests of this block, in this thread or task, take so long in all."""
    before = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(before)


def bounded(client: httpx.Client | httpx.AsyncClient) -> None:
    """Hold all that the client reads to `within`: headers too, and what comes through a proxy.

    httpx has no public place for that; a version that keeps its connections elsewhere is left as
    it is.
    """
    backend = _Backend if isinstance(client, httpx.Client) else _AsyncBackend
    for each in (getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values()):
        pool = getattr(each, "_pool", None)
        if hasattr(pool, "_network_backend"):
            pool._network_backend = backend(pool._network_backend)  # type: ignore[union-attr]  # noqa: SLF001


def _left_s(timeout: float | None) -> float:
    left = _until.get(math.inf) - time.monotonic()
    if left <= 0:
        raise httpx.ReadTimeout("the answer took too long in all")
    return left if timeout is None else min(timeout, left)


class _Around:
    """What httpcore asks of another, handed on as it is."""

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 - httpcore's, whose types are its own
        self._inner = inner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - likewise
        return getattr(self._inner, name)


class _Backend(_Around):
    def connect_tcp(self, *args: Any, **kwargs: Any) -> _Stream:  # noqa: ANN401 - likewise
        return _Stream(self._inner.connect_tcp(*args, **kwargs))


class _Stream(_Around):
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = self._inner.read(max_bytes, _left_s(timeout))
        return data

    def start_tls(self, *args: Any, **kwargs: Any) -> _Stream:  # noqa: ANN401 - likewise
        return _Stream(self._inner.start_tls(*args, **kwargs))


class _AsyncBackend(_Around):
    async def connect_tcp(self, *args: Any, **kwargs: Any) -> _AsyncStream:  # noqa: ANN401 - likewise
        return _AsyncStream(await self._inner.connect_tcp(*args, **kwargs))


class _AsyncStream(_Around):
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = await self._inner.read(max_bytes, _left_s(timeout))
        return data

    async def start_tls(self, *args: Any, **kwargs: Any) -> _AsyncStream:  # noqa: ANN401 - likewise
        return _AsyncStream(await self._inner.start_tls(*args, **kwargs))
