"""Recognises hosts, ports and web addresses; everything else becomes None. Pure.

The service passes on texts of hosts, which then stand on OpenSSH's command line, in lines that
people paste into a shell, and in a browser. A name such as ``-oProxyCommand=…`` must not get there.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*(?P<last>{_LABEL})\.?")
_LONGEST_NAME = 253
_PORT = re.compile(r"[0-9]{1,5}")
_LAST_PORT = 65_535
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_WEB = re.compile(
    r"(?:https?://)?(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?:/[A-Za-z0-9._~%/=+:@,-]*)?",
    re.IGNORECASE,
)


def as_host(value: object) -> str | None:
    """`value` without surrounding spaces, if it is a host name (RFC 1123) or an IP address."""
    text = value.strip() if isinstance(value, str) else ""
    if _is_address(text):
        return text
    found = _NAME.fullmatch(text) if len(text) <= _LONGEST_NAME else None
    # A name that ends in a number is an address in another notation, or invalid (RFC 3696, 2).
    return None if found is None or _NUMBER.fullmatch(found["last"]) else text


def as_port(value: object) -> int | None:
    """`value`, a number or a text, if it is a port: 1-65535."""
    text = str(value).strip() if isinstance(value, (int, str)) else ""
    number = int(text) if _PORT.fullmatch(text) else 0
    return number if 0 < number <= _LAST_PORT else None


def as_web_address(value: object) -> str | None:
    """`value` if it is ``host[:port][/path]``, optionally with ``http://`` or ``https://``.

    It contains no user, and nothing that a shell would read as more than one word.
    """
    text = value.strip() if isinstance(value, str) else ""
    found = _WEB.fullmatch(text)
    if found is None or (found["port"] is not None and as_port(found["port"]) is None):
        return None
    is_one = _is_address(found["address"]) if found["address"] else as_host(found["host"])
    return text if is_one else None


def _is_address(text: str) -> bool:
    try:
        return "%" not in text and bool(ip_address(text))  # no zone: OpenSSH expands %
    except ValueError:
        return False
