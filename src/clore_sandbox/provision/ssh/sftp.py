"""SFTP where the marketplace itself serves a room's home folder (rooms that are not fenced in)."""

from __future__ import annotations

import os

import asyncssh

__all__ = ["HomeFiles"]


class HomeFiles(asyncssh.SFTPServer):
    """SFTP that starts in the room's home and says when it is done."""

    def __init__(self, chan: asyncssh.SSHServerChannel[bytes], home: str) -> None:
        super().__init__(chan)  # pyright: ignore[reportUnknownMemberType] - asyncssh leaves it open
        self._channel = chan
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        """A path of the client's, from the home folder on."""
        if path == b"~" or path.startswith(b"~/"):
            path = path[2:]
        return os.path.join(self._home, path)  # noqa: PTH118 - bytes: names need not be UTF-8

    def exit(self) -> None:
        """The client has gone, or has said that it is done."""
        # asyncssh sends no exit status for SFTP, and `scp` then returns 1 after a correct copy.
        self._channel.exit(0)
