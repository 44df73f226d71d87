"""Work on a rented machine with the user's OpenSSH: run commands, upload and fetch files.

The content of a folder goes into the folder that is named; a file becomes the file that is named.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clore_ai._api.steps import Exec, Fetch, Put, at_last, local
from clore_ai._ssh import marks
from clore_ai._ssh.target import ALONE
from clore_ai.exceptions import TransportError, WaitTimeout
from clore_ai.rental.orders import cancel, ending, recover

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_ai._api.steps import Done, Flow
    from clore_ai._ssh.target import Target
    from clore_ai.models import Order
    from clore_ai.rental.session import Session

MOST_OUTPUT = 1 << 28
"""The most bytes of standard output that one command may write: they are kept in memory."""


@dataclass(frozen=True)
class Result:
    """How a command on the machine ended, and its output."""

    code: int
    """The exit code of the command; 255 is also ssh's own code if it can't connect."""
    stdout: str
    stderr: str


def run(order: Order, target: Target, command: str, timeout_s: float) -> Flow[Result]:
    """Run one shell line.

    Raises:
        WaitTimeout: it did not end in time; carries the order, which is still billed. The processes
            that it started may still run.
        TransportError: ssh is missing here, or the command wrote more than `MOST_OUTPUT`.
    """
    mark = marks.new()
    line = f"printf '\\n%s\\n' {mark}\n{command}"
    words = target.ssh(line, *ALONE)
    done: Done = yield Exec(words, b"", timeout_s, most=MOST_OUTPUT)
    if done.flooded:
        raise TransportError(
            f"The command on order {order.id} wrote more than {MOST_OUTPUT >> 20} MiB and was "
            "ended; write to a file there and fetch that.",
            maybe_acted=True,
        )
    if done.code is None:
        raise WaitTimeout(
            f"The command on order {order.id} did not end within {timeout_s:g} s; the processes "
            "that it started may still run there, and the order is still billed.",
            order,
        )
    if done.errno == errno.ENOENT:
        raise TransportError("ssh is not installed; install openssh-client.")
    if done.errno is not None:
        raise TransportError(f"ssh can't be started here: {os.strerror(done.errno)}.")
    rest = marks.after(mark, done.out)  # without what a shell prints when it starts
    said = done.out if rest is None else rest
    out, err = (text.decode("utf-8", "replace") for text in (said, done.err))
    return Result(done.code, out, err)


def put(target: Target, path: str | Path, remote: str) -> Flow[None]:
    """Upload a file or a folder; missing parent folders are created.

    Raises:
        TransportError: it did not arrive complete; the message says why.
        FileNotFoundError: the file or folder does not exist here.
    """
    source = Path(path)
    if not (yield from local(source.exists)):
        raise FileNotFoundError(f"{source} is not here, so it can't be uploaded to the machine.")
    yield Put(lambda line: target.ssh(line, *ALONE), source, remote)


def get(target: Target, remote: str, path: str | Path, most: int) -> Flow[Mapping[str, str]]:
    """Fetch a file or a folder; missing parent folders are created.

    Returns:
        The names that were left out, each with the reason.

    Raises:
        TransportError: it did not arrive complete, or does not exist; the message says why.
    """
    refused: Mapping[str, str] = yield Fetch(
        lambda line: target.ssh(line, *ALONE), remote, Path(path), most
    )
    return refused


def finish(session: Session, order: Order, why: str = ending.CANCELLED) -> Flow[None]:
    """Cancel an order and check that it is gone; nothing to do if it has ended.

    `why` is kept in the ledger.

    Raises:
        CloreAPIError: it may still be billed. The next `clore` command reports it, too.
    """
    each = cancel.Cancelling(order.id, why=why)
    try:
        yield from cancel.until_gone(session, [each])
    finally:
        if not each.gone and getattr(each.error, "error", None) != "order_not_active":
            yield from at_last(recover.report, session, order.id)
    if each.error is not None and each.error.error != "order_not_active":
        raise each.error
    yield from local(session.access.forget, order.id)
