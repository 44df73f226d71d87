"""Work on a rented machine: run a command there, bring files and fetch them. By the user's OpenSSH.

A folder's content goes into the folder that is named; a file becomes the file that is named.
"""

from __future__ import annotations

import posixpath
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clore_ai._flow import Exec
from clore_ai.exceptions import ConfigError, TransportError, WaitTimeout
from clore_ai.rental import cancel, verify

if TYPE_CHECKING:
    from clore_ai._access import Target
    from clore_ai._flow import Done, Flow
    from clore_ai.models import Order
    from clore_ai.rental.session import Session

COPY_S = 3600.0
_ASK_S = 30.0
_RSYNC_NOT_THERE = (12, 127)
"""rsync's ends where there is none at one side: a protocol that nobody speaks, or the shell's."""


@dataclass(frozen=True)
class Result:
    """How a command on the machine ended, and what it said."""

    code: int
    """Its own; 255 is also what ssh says for no connection."""
    stdout: str
    stderr: str


def run(order: Order, target: Target, command: str, timeout_s: float) -> Flow[Result]:
    """Run one shell line.

    Raises:
        WaitTimeout: it did not end in time; carries the order, which is still billed. What it
            started there may go on.
        TransportError: there is no ssh here.
    """
    done: Done = yield Exec(target.ssh(command, *verify.ALONE), b"", timeout_s)
    if done.code is None:
        raise WaitTimeout(
            f"The command on order {order.id} did not end within {timeout_s:g} s; what it started "
            "may go on there, and the order is still billed.",
            order,
        )
    if done.code == verify.NOT_HERE and done.err.startswith(b"ssh: No such file"):
        raise TransportError("There is no ssh here; install openssh-client.")
    out, err = (text.decode("utf-8", "replace") for text in (done.out, done.err))
    return Result(done.code, out, err)


def put(target: Target, local: str | Path, remote: str) -> Flow[None]:
    """Bring a file or a folder there; folders on the way are made.

    Raises:
        TransportError: it did not arrive whole; says why.
        FileNotFoundError: there is no such file or folder here.
    """
    source = Path(local)
    if not source.exists():
        raise FileNotFoundError(f"{source} is not here, so it can't be brought to the machine.")
    folder = remote if source.is_dir() else posixpath.dirname(remote)
    if folder:
        made: Done = yield _there(target, f"mkdir -p -- {shlex.quote(folder)}")
        _must(made, f"{folder} can't be made on the machine")
    there = remote.rstrip("/") + "/" if source.is_dir() else remote
    slash = "/" if source.is_dir() else ""
    yield from _copy(
        target,
        (f"{_here(source)}{slash}", _at(target, there)),
        (f"{_here(source)}{slash and '/.'}", _at(target, there)),
        f"{source} did not arrive on the machine",
    )


def get(target: Target, remote: str, local: str | Path) -> Flow[None]:
    """Fetch a file or a folder; folders on the way are made.

    Raises:
        TransportError: it did not arrive whole, or is not there; says why.
    """
    what: Done = yield _there(
        target, f'p={shlex.quote(remote)}; if [ -d "$p" ]; then echo folder; else [ -e "$p" ]; fi'
    )
    _must(what, f"{remote} is not on the machine")
    is_folder = what.out.strip() == b"folder"
    goal = Path(local)
    (goal if is_folder else goal.parent).mkdir(parents=True, exist_ok=True)
    there, slash = remote.rstrip("/"), "/" if is_folder else ""
    yield from _copy(
        target,
        (_at(target, f"{there}{slash}"), f"{_here(goal)}{slash}"),
        (_at(target, f"{there}{slash and '/.'}"), f"{_here(goal)}{slash}"),
        f"{remote} did not arrive here",
    )


def finish(session: Session, order: Order) -> Flow[None]:
    """Cancel an order and see that it is gone; nothing to do where it has ended.

    Raises:
        CloreAPIError: it may still be billed. The next `clore` command tells of it, too.
    """
    each = cancel.Cancelling(order.id)
    try:
        yield from cancel.until_gone(session, [each])
    finally:
        if not each.gone and getattr(each.error, "error", None) != "order_not_active":
            _forget_nothing(session, order.id)
    if each.error is not None and each.error.error != "order_not_active":
        raise each.error
    session.access.forget(order.id)


def _forget_nothing(session: Session, order_id: int) -> None:
    try:
        intent = session.ledger.by_order(order_id)
        if intent is not None:
            session.ledger.update(intent, untold=True)
    except ConfigError as exc:
        session.note_trouble(str(exc))


def _there(target: Target, command: str) -> Exec:
    return Exec(target.ssh(command, *verify.ALONE), b"", _ASK_S)


def _copy(
    target: Target, by_rsync: tuple[str, str], by_scp: tuple[str, str], failed: str
) -> Flow[None]:
    """By rsync where both sides have it, which also brings only what changed; else by scp."""
    shell = shlex.join(("ssh", "-p", str(target.port), *target.options, *verify.ALONE))
    done: Done = yield Exec(("rsync", "-a", "-s", "-e", shell, "--", *by_rsync), b"", COPY_S)
    if done.code in _RSYNC_NOT_THERE:
        options: list[Any] = [*target.options, *verify.ALONE[:-1]]
        done = yield Exec(
            ("scp", "-r", "-p", "-q", "-P", str(target.port), *options, "--", *by_scp), b"", COPY_S
        )
    _must(done, failed)


def _must(done: Done, failed: str) -> None:
    if done.code != 0:
        why = verify.last_line(done.err) or (
            "it took too long" if done.code is None else f"it ended with {done.code}"
        )
        raise TransportError(f"{failed}: {why}.", maybe_acted=True)


def _here(path: Path) -> str:
    """A path that neither rsync nor scp takes for ``host:path`` or an option."""
    return str(path.absolute())


def _at(target: Target, path: str) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return f"{target.user}@{host}:{path}"
