"""Probes a machine's SSH: does it answer, and if not, is the fault local?

If a host refuses, resets or stays silent, packets left this machine. Failures before that are
local: a name that can't be resolved, no route, no free port, too many open files. No text of
another program or machine decides this.
"""

from __future__ import annotations

import errno
import os
import socket

from clore_ai._api.steps import Probe, Way

_HERE = (
    errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.ENETDOWN,
    errno.EPERM, errno.EACCES,
)  # fmt: skip
"""Connection errors that no packet from another machine can cause."""
_NO_SUCH_NAME = tuple(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)
)
# A port over 65535 is an OverflowError, an impossible host name a ValueError.
_ODD = (ValueError, OverflowError)
FAILURES = (OSError, *_ODD)


def perform(step: Probe | Way, known: str) -> bool | str:
    """The step's answer; `known` as in `trouble`."""
    return _greets(step, known) if isinstance(step, Probe) else wrong_here(step, known)


def _greets(step: Probe, known: str) -> bool | str:
    """Connect and read the first bytes; an SSH server speaks first (RFC 4253, 4.2)."""
    try:
        with socket.create_connection((step.host, step.port), step.timeout_s) as connection:
            connection.settimeout(step.timeout_s)
            return connection.recv(4) == b"SSH-"
    except FAILURES as exc:
        return trouble(step.host, step.port, exc, known) or False


def wrong_here(step: Way, known: str) -> str:
    """The fault between here and an address; with `opens`, at its other end, too."""
    failure: BaseException | None = None
    if step.opens:
        try:
            socket.create_connection((step.host, step.port), step.timeout_s).close()
        except FAILURES as exc:
            failure = exc
        else:
            return ""
    why = trouble(step.host, step.port, failure, known)
    return why or _words(failure)


def trouble(host: str, port: int, failure: BaseException | None = None, known: str = "") -> str:
    """The local fault, in a clause; empty if there is none.

    Args:
        host: the host that could not be reached.
        port: its port.
        failure: the error of a connection attempt, if there was one.
        known: a name that certainly exists: if it resolves and `host` does not, the resolver is not
            to blame.
    """
    if isinstance(failure, OSError) and failure.errno in _HERE:
        return _words(failure)
    if isinstance(failure, (ConnectionError, TimeoutError, socket.timeout, *_ODD)):
        return ""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except socket.gaierror as exc:
        missing = exc.errno in _NO_SUCH_NAME and _is_name(known) and _resolves(known)
        return "" if missing else f"{host} can't be resolved: {exc.strerror}"
    except FAILURES:
        return ""
    why = ""
    for family, kind, _, _, address in found:
        try:
            with socket.socket(family, kind) as route:
                route.connect(address)  # UDP: it only looks up a route
        except OSError as exc:
            why = why or _words(failure) or _words(exc)
        else:
            return ""
    return why


def _words(failure: BaseException | None) -> str:
    number = getattr(failure, "errno", None)
    return os.strerror(number) if number else str(failure or "")


def _resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None))
    except FAILURES:
        return False


def _is_name(host: str) -> bool:
    """Is it a name, which is looked up, rather than an address?"""
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except FAILURES:
        return bool(host)
    return False
