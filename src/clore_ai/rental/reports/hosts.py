"""What is known about hosts, and which hosts are blocked: `clore hosts`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clore_ai._api.steps import Flow, clock, local
from clore_ai._state.hosts import Block, HostHistory, read_list, records
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clore_ai.rental.session import Session


@dataclass(frozen=True)
class KnownHosts:
    """The known servers and the blocked hosts."""

    seen: list[HostHistory]
    """One entry per server; the server seen last comes last."""
    blocked: list[Block]
    """The hosts that the user blocked."""

    @property
    def failing(self) -> list[HostHistory]:
        """Servers with failures that count, unless they are blocked themselves."""
        blocked = {each.id for each in self.blocked if each.kind == "server"}
        return [each for each in self.seen if each.counting and each.server_id not in blocked]


def known(session: Session) -> Flow[KnownHosts]:
    """What is known about the hosts of this marketplace.

    Raises:
        ConfigError: the records can't be read.
    """
    now = (yield from clock()).wall
    return (yield from local(_known, session, now))


def _known(session: Session, now: float) -> KnownHosts:
    hosts = session.hosts
    return KnownHosts(records(hosts.sights(), hosts.opinion(now)), hosts.blocks())


def block(session: Session, hosts: Iterable[str], note: str | None = None) -> Flow[list[Block]]:
    """Never rent from these hosts until they are allowed again: server ids, or ``owner:ID``.

    Raises:
        InvalidInputError: one is neither; none is blocked.
        ConfigError: the records can't be written.
    """
    found = _named(hosts, (yield from clock()).wall)
    return (yield from _block(session, [replace(each, note=note) for each in found]))


def block_list(session: Session, text: str) -> Flow[list[Block]]:
    """Block the hosts of a list, one on each line; text after a ``#`` is a note."""
    return (yield from _block(session, read_list(text, (yield from clock()).wall)))


def _block(session: Session, hosts: list[Block]) -> Flow[list[Block]]:
    yield from local(session.hosts.block, hosts)
    return hosts


def allow(session: Session, hosts: Iterable[str]) -> Flow[tuple[list[Block], list[Block]]]:
    """Allow these hosts again, and forget their failures; second, those without any record.

    Raises:
        InvalidInputError: one is neither a server's id nor ``owner:ID``; none is allowed.
        ConfigError: the records can't be written.
    """
    found = _named(hosts, (yield from clock()).wall)
    unknown = yield from local(_allow, session, found)
    return found, unknown


def _allow(session: Session, found: list[Block]) -> list[Block]:
    return [each for each in found if not session.hosts.allow(each.kind, each.id)]


def _named(hosts: Iterable[str], now: float) -> list[Block]:
    found: list[Block] = []
    for host in hosts:
        try:
            (each,) = read_list(host, now)
        except (InvalidInputError, ValueError):
            raise InvalidInputError(
                f"{host!r} is not a host; write a server's id, or owner:ID.", 2
            ) from None
        found.append(each)
    return found
