"""A network between a command and a machine, which a test can break."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """A TCP relay to an order's SSH, which can be cut, blocked or silent, like a Wi-Fi."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open = True
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent = 0
        """The number of pairs, from the first, that are silent: not even an end passes."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.refused = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._open:
                    self.refused += 1
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._to))
                self._pairs.append((near, far))
                for a, b in ((near, far), (far, near)):
                    copy = threading.Thread(target=self._copy, args=(len(self._pairs), a, b))
                    copy.daemon = True
                    copy.start()

    def _copy(self, number: int, a: socket.socket, b: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                if number > self._silent:
                    b.sendall(data)
        for each in (a, b):
            if number > self._silent:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return len(self._pairs)

    def go_silent(self) -> None:
        """Silence the current connections without ending them; new ones work as before.

        The machine has abandoned them.
        """
        self._silent = len(self._pairs)
        for _, far in self._pairs:
            with contextlib.suppress(OSError):
                far.shutdown(socket.SHUT_RDWR)

    def block(self) -> None:
        self._open = False
        for each in sum(self._pairs, ()):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def unblock(self) -> None:
        self._open = True

    def close(self) -> None:
        self.block()
        self._listener.close()
        for each in sum(self._pairs, ()):
            each.close()
