"""Public keys, as OpenSSH writes them. Pure."""

from __future__ import annotations

import re

_PUBLIC = re.compile(r"(sk-)?(ssh|ecdsa)-[\w@.-]+ [A-Za-z0-9+/]+=*( .*)?")


def is_public(text: str) -> bool:
    """Is it one public key?"""
    return _PUBLIC.fullmatch(text) is not None
