"""SFTP for rooms that are not isolated: the marketplace serves the home folder."""

from __future__ import annotations

import os

import asyncssh

__all__ = ["HomeFiles"]


class HomeFiles(asyncssh.SFTPServer):
    """SFTP that starts in the room's home and sends an exit status."""

    def __init__(self, chan: asyncssh.SSHServerChannel[bytes], home: str) -> None:
        super().__init__(chan)  # pyright: ignore[reportUnknownMemberType] - asyncssh leaves it open
        self._channel = chan
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        """A path of the client, relative to the home folder."""
        if path == b"~" or path.startswith(b"~/"):
            path = path[2:]
        return os.path.join(self._home, path)  # noqa: PTH118 - bytes: names need not be UTF-8

    def exit(self) -> None:
        """The client has ended the session."""
        # asyncssh sends no exit status for SFTP, so that `scp` would return 1 after a correct copy.
        self._channel.exit(0)
