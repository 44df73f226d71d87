"""A server that answers with raw bytes: cut, dripped, bombs, lies."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from typing import TYPE_CHECKING, Callable, Iterator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

Answer = Callable[[str, int], "Iterable[bytes]"]
"""The pieces of the answer to a path, by the number of earlier requests for that path."""
RESET = b"reset"
"""A piece that resets the connection; without one it is closed after the last piece."""


def http(body: bytes, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    """A complete answer in JSON."""
    head = [
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def says(**fields: object) -> bytes:
    """A successful answer."""
    return http(json.dumps({"code": 0, **fields}).encode())


class Wire:
    """Answers one request a connection; `asked` holds the first line and headers of each."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self._open = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def paths(self) -> list[str]:
        """The endpoints of all requests, without their parameters."""
        return [line.split()[1].partition("?")[0].removeprefix("/v1/") for line in self.asked]

    def __enter__(self) -> Self:
        self.threads[0].start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._open.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self.threads:
            thread.join(10)

    def drip(self, pieces: Iterable[bytes], every_s: float) -> Iterator[bytes]:
        """Send these one at a time, until the server is closed."""
        for piece in pieces:
            yield piece
            if self._open.wait(every_s):
                return

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self.threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            asked = _request(connection)
            if not asked:
                return
            self.asked.append(asked)
            path = self.paths[-1]
            for piece in self.answer(path, self.paths.count(path) - 1):
                if piece is RESET:
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return
                connection.sendall(piece)


def _request(connection: socket.socket) -> str:
    """The head of a request, its body read too."""
    came = b""
    while b"\r\n\r\n" not in came:
        piece = connection.recv(65_536)
        if not piece:
            return ""
        came += piece
    head, _, body = came.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    lengths = [
        int(line.split(":")[1])
        for line in text.split("\r\n")
        if line.lower().startswith("content-l")
    ]
    left = sum(lengths) - len(body)
    while left > 0 and (piece := connection.recv(left)):
        left -= len(piece)
    return text
