"""Bounds on an answer, in bytes and in time: whatever a server sends, reading it ends.

httpx's timeout applies to each read: a server that sends a byte every second never triggers it. A
compressed answer of 300 kB may hold 300 MB.
"""

from __future__ import annotations

import socket
import time
import zlib
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_BYTES = 64 << 20
"""The most bytes of one answer, compressed or not; a marketplace of 2,200 servers has about 3
MB."""
_GZIP = zlib.MAX_WBITS | 16


class Body:
    """The body of an answer, assembled from its pieces as they come.

    It is decompressed here and not by httpx, which decompresses a whole piece at once, however much
    that yields. Only gzip is requested, so only gzip is decompressed.
    """

    def __init__(self, encoding: str) -> None:
        zipped = encoding.strip().lower() in ("gzip", "x-gzip")
        self._gzip = zlib.decompressobj(_GZIP) if zipped else None
        self._pieces: list[bytes] = []
        self._came = self._size = 0
        self.whole = True
        """False once it exceeds `MOST_BYTES`; the content is then its beginning."""

    def add(self, piece: bytes) -> bool:
        """Add a piece; False if the answer exceeds its limit.

        Raises:
            httpx.DecodingError: it is not valid gzip.
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
        """The assembled body."""
        return b"".join(self._pieces)


class Bound:
    """Limits the total time of the requests in a ``with`` block of this thread or task."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._stream: _Around | None = None
        self._before: Token[Bound | None] | None = None

    def __enter__(self) -> Self:
        self._before = _bound.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            _bound.reset(self._before)

    def left_s(self, timeout: float | None, stream: _Around) -> float:
        """How long the next step may take; it now uses `stream`."""
        self._stream = stream
        left = self._until - time.monotonic()
        if left <= 0:
            raise httpx.ReadTimeout("the whole answer took too long")
        return left if timeout is None else min(timeout, left)

    def end(self) -> None:
        """Called from another thread: nothing more is sent or read."""
        self._until = 0.0
        if self._stream is not None:
            self._stream.wake()


_bound: ContextVar[Bound | None] = ContextVar("bound", default=None)


def bounded(client: httpx.Client | httpx.AsyncClient) -> None:
    """Apply the `Bound` to all that the client sends and reads, headers and proxies included.

    httpx has no public hook for this; a version that keeps its connections elsewhere is not
    bounded.
    """
    backend = _Backend if isinstance(client, httpx.Client) else _AsyncBackend
    for each in (getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values()):
        pool = getattr(each, "_pool", None)
        if hasattr(pool, "_network_backend"):
            pool._network_backend = backend(pool._network_backend)  # type: ignore[union-attr]  # noqa: SLF001


class _Around:
    """Wraps an object of httpcore, and passes on all its other methods."""

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 - httpcore's, whose types are its own
        self._inner = inner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - likewise
        return getattr(self._inner, name)

    def left_s(self, timeout: float | None) -> float | None:
        """How long the next step may take."""
        bound = _bound.get()
        return timeout if bound is None else bound.left_s(timeout, self)

    def wake(self) -> None:
        """End the step that waits in another thread."""
        connection = self._inner.get_extra_info("socket")
        with suppress(OSError, TypeError):
            # Not `SSLSocket`'s own method, which removes the object that the other thread reads
            # with.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Backend(_Around):
    def connect_tcp(self, *args: Any, **kwargs: Any) -> _Stream:  # noqa: ANN401 - likewise
        return _Stream(self._inner.connect_tcp(*args, **kwargs))


class _Stream(_Around):
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = self._inner.read(max_bytes, self.left_s(timeout))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self.left_s(timeout))

    def start_tls(self, *args: Any, **kwargs: Any) -> _Stream:  # noqa: ANN401 - likewise
        return _Stream(self._inner.start_tls(*args, **kwargs))


class _AsyncBackend(_Around):
    async def connect_tcp(self, *args: Any, **kwargs: Any) -> _AsyncStream:  # noqa: ANN401 - likewise
        return _AsyncStream(await self._inner.connect_tcp(*args, **kwargs))


class _AsyncStream(_Around):
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = await self._inner.read(max_bytes, self.left_s(timeout))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, self.left_s(timeout))

    async def start_tls(self, *args: Any, **kwargs: Any) -> _AsyncStream:  # noqa: ANN401 - likewise
        return _AsyncStream(await self._inner.start_tls(*args, **kwargs))
