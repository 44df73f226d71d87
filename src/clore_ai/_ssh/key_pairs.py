"""Key pairs: does a private key belong to the public key that a machine gets, and can it be used?

`ssh-keygen` decides. If it can't read a key, `fault` finds the reason in the file.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_WORDS = 2
"""The words of a public key without its comment: the kind and the key."""
_MOST = 1 << 16
_MAGIC, _LENGTH = b"openssh-key-v1\0", 4
_ANOTHER = (
    "Restore it from a copy, or move it and its .pub away to get a new pair; running orders "
    "keep the old key."
)


def bare(public: str) -> list[str]:
    """A public key without its comment; comparable."""
    return public.split()[:_WORDS]


def public_half(private: Path) -> tuple[str, ...]:
    """The command that prints the public key of a private one."""
    return ("ssh-keygen", "-y", "-P", "", "-f", str(private))


def has_passphrase(private: Path) -> bool:
    """Does it look complete, and is it protected by a passphrase?"""
    text = _text(private)
    if b"ENCRYPTED" in text:
        return True
    body = b"".join(line for line in text.splitlines() if b"-----" not in line)
    try:
        raw = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return False
    length = int.from_bytes(raw[len(_MAGIC) : len(_MAGIC) + _LENGTH], "big")
    cipher = raw[len(_MAGIC) + _LENGTH :][:length]
    return raw.startswith(_MAGIC) and cipher not in (b"", b"none")


def fault(private: Path) -> str:
    """Why a private key can't be used, and what to do: a sentence that begins with its path."""
    try:
        found = private.stat()
        if os.name == "posix" and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return (
                f"{private} is accessible to others (mode {found.st_mode & 0o777:04o}), so ssh "
                f"refuses it. Run: chmod 600 {private}"
            )
    except OSError:
        pass
    if not os.access(private, os.R_OK):
        return f"You can't read {private}. Make it yours (chown), or use another key."
    if not _text(private):
        return f"{private} is empty. {_ANOTHER}"
    return f"{private} is damaged. {_ANOTHER}"


def _text(private: Path) -> bytes:
    try:
        with private.open("rb") as file:
            text = file.read(_MOST)
    except OSError:
        return b""
    return text.strip()
