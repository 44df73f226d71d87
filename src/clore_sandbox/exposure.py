"""Warns before the marketplace listens on an address that other machines can reach."""

from __future__ import annotations

import getpass
import ipaddress
import socket

__all__ = ["is_everywhere", "warning"]


def warning(host: str | None, provisioner: str | None) -> str | None:
    """The warning to show; None if only this machine can reach the address.

    Args:
        host: The option of `clore sandbox up`; None is 127.0.0.1.
        provisioner: The option; None is `process`.
    """
    address = _address(host)
    if address is None or address.is_loopback:
        return None
    who = "every machine that can reach this one" if address.is_unspecified else "other machines"
    warned = (
        f"Warning: --host {host} opens the API, /control and the orders' ports to {who}, over "
        "plain HTTP. Anyone with an API key can rent; /control has its own key. Keep both keys "
        "random and secret."
    )
    if provisioner in (None, "process"):
        return (
            f"{warned} Renters can run any command as {_user()}, and read and change everything "
            "that this user can. Isolate orders with --provisioner bwrap or docker."
        )
    return f"{warned} Orders run on this machine, isolated by {provisioner}."


def is_everywhere(host: str) -> bool:
    """Whether this is all addresses of the machine."""
    address = _address(host)
    return address is not None and address.is_unspecified


def _address(host: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that the system resolves it to, "0" and names included; None if it can't."""
    if host is None:
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.ip_address(socket.gethostbyname(host))
    except (OSError, TypeError, UnicodeError):
        return None  # listening will report it


def _user() -> str:
    try:
        return f"the user {getpass.getuser()}"
    except (KeyError, OSError):  # in a container the user id may have no name
        return "this user"
