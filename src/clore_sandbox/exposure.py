"""What it means to listen on an address that others than this machine reach."""

from __future__ import annotations

import getpass
import ipaddress
import socket

__all__ = ["is_everywhere", "warning"]


def warning(host: str | None, provisioner: str | None) -> str | None:
    """Said before it listens; None where only this machine reaches it.

    Args:
        host: as `clore sandbox up` takes it; None is 127.0.0.1.
        provisioner: likewise; None is `process`.
    """
    address = _address(host)
    if address is None or address.is_loopback:
        return None
    who = "every machine that reaches this one" if address.is_unspecified else "other machines"
    said = (
        f"Warning: --host {host} opens the API, /control and the orders' ports to {who}, over "
        "plain HTTP. Anybody with an API key can rent; /control has a key of its own. Keep both "
        "random and secret."
    )
    if provisioner in (None, "process"):
        return (
            f"{said} Renting runs any command as {_user()}, not fenced in: whoever rents can read "
            "and change all that this user can. Fence orders in with --provisioner bwrap or docker."
        )
    return f"{said} Orders run on this machine, fenced in by {provisioner}."


def is_everywhere(host: str) -> bool:
    """Does it listen on all addresses of this machine?"""
    address = _address(host)
    return address is not None and address.is_unspecified


def _address(host: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """What the system makes of it, "0" and names included; None where that is nothing."""
    if host is None:
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.ip_address(socket.gethostbyname(host))
    except (OSError, TypeError, UnicodeError):
        return None  # which is said where it is listened on


def _user() -> str:
    try:
        return f"the user {getpass.getuser()}"
    except (KeyError, OSError):  # of a container that knows no name for it
        return "this user"
