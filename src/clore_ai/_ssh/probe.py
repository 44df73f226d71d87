"""The way from here to a machine's SSH: does it answer, and if not, is this machine to blame?

A host that refuses, resets or keeps silent was at least sent something. What fails before that is
this machine's: a name that it can't resolve, no route, no free port, too many open files. No text
of another program, or of another machine, has a say in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket

from clore_ai._api.steps import Probe, Way
from clore_ai._ssh import programs

_HERE = (
    errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.ENETDOWN,
    errno.EPERM, errno.EACCES,
)  # fmt: skip
"""Errors of a connection that no packet from elsewhere can cause."""
_NO_SUCH_NAME = tuple(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)
)
# A port over 65535 is an OverflowError, a host name that can't be one a ValueError.
_ODD = (ValueError, OverflowError)
_FAILURES = (OSError, *_ODD)


def perform(step: Probe | Way, known: str) -> bool | str:
    """The step's answer; `known` as in `trouble`."""
    return _greets(step, known) if isinstance(step, Probe) else _wrong_here(step, known)


async def perform_async(step: Probe | Way, known: str) -> bool | str:
    """As `perform`, in the event loop."""
    if isinstance(step, Probe):
        return await _greets_async(step, known)
    return await programs.in_thread(lambda _: _wrong_here(step, known))


def _greets(step: Probe, known: str) -> bool | str:
    """Connect and read the first bytes; an SSH server speaks first (RFC 4253, 4.2)."""
    try:
        with socket.create_connection((step.host, step.port), step.timeout_s) as connection:
            connection.settimeout(step.timeout_s)
            return connection.recv(4) == b"SSH-"
    except _FAILURES as exc:
        return trouble(step.host, step.port, exc, known) or False


async def _greets_async(step: Probe, known: str) -> bool | str:
    try:
        return await asyncio.wait_for(_greeting(step), step.timeout_s)
    except asyncio.TimeoutError:
        return False
    except _FAILURES as exc:
        why = exc
    found = await programs.in_thread(lambda _: trouble(step.host, step.port, why, known))
    return found or False


async def _greeting(step: Probe) -> bool:
    reader, writer = await asyncio.open_connection(step.host, step.port)
    try:
        return await reader.read(4) == b"SSH-"
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _wrong_here(step: Way, known: str) -> str:
    """What is wrong with the way to an address; with `opens`, at its other end, too."""
    failure: BaseException | None = None
    if step.opens:
        try:
            socket.create_connection((step.host, step.port), step.timeout_s).close()
        except _FAILURES as exc:
            failure = exc
        else:
            return ""
    why = trouble(step.host, step.port, failure, known)
    return why or _words(failure)


def trouble(host: str, port: int, failure: BaseException | None = None, known: str = "") -> str:
    """What is wrong here, in a clause; empty where nothing is.

    Args:
        host: who could not be reached, at `port`.
        port: likewise.
        failure: how a connection there failed, where one was tried.
        known: a name that exists for sure: where it is found, and `host` is not, it is not the
            resolver's fault.
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
    except _FAILURES:
        return ""
    why = ""
    for family, kind, _, _, address in found:
        try:
            with socket.socket(family, kind) as route:
                route.connect(address)  # a datagram's: it only looks for a route
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
    except _FAILURES:
        return False


def _is_name(host: str) -> bool:
    """Is it looked up at all, as an address is not?"""
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except _FAILURES:
        return bool(host)
    return False
