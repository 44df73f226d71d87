"""Checks this machine before money is spent, and when a rented machine refuses every login.

A problem here would fail on every machine: ssh is missing or refuses its options, the key is
damaged or not the one that is sent, the network blocks SSH. So it ends a rental at once, costs
one order at most, and counts against no host. Only this machine is asked, and no other program's
text decides: OpenSSH reads its options (`ssh -G`) and the key (`ssh-keygen -y`), and the network
gives the error of a failed connection.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai._api.steps import Done, Exec, Flow, Way, local
from clore_ai._ssh import key_pairs
from clore_ai._ssh.copy.failures import last_words
from clore_ai._ssh.order_keys import in_ssh_folder
from clore_ai._ssh.target import ALONE
from clore_ai.exceptions import CloreAPIError, ConfigError, InvalidInputError, TransportError

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai._ssh.target import Target
    from clore_ai.rental.session import Session

_SSH_PORT, _HTTPS_PORT = 22, 443
_WITHIN_S = 10.0
_OTHER_KEYS = ("identityfile", "identityagent", "pkcs11provider")
_CONNECTING = (errno.ENETUNREACH, errno.ENETDOWN, errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL)


@dataclass(frozen=True)
class Trouble:
    """The problem here, in one or two sentences that end with the next step."""

    text: str
    kind: type[CloreAPIError] = ConfigError

    def error(self, before: str) -> CloreAPIError:
        """The error to raise; `before`: a sentence on what happened to the order."""
        return self.kind(f"{before} {self.text}")


def check(
    session: Session, public: str | None, identity: Path | None, *, login: bool
) -> Flow[None]:
    """Check before money is spent; `login`: the rental needs a login from here.

    Raises:
        CloreAPIError: no login from here can work.
    """
    found = yield from trouble(session, public, identity, login=login)
    if found is not None:
        raise found.error("Nothing was rented.")


def trouble(
    session: Session, public: str | None, identity: Path | None, *, login: bool = True
) -> Flow[Trouble | None]:
    """The problem here; None if there is none.

    Args:
        session: the client's.
        public: the key that is sent to machines.
        identity: the private key's file, if it is known.
        login: are ssh and the network needed, too?
    """
    if not login:
        return None if identity is None else (yield from _of_key(public, identity))
    settings = yield from _settings(session.access.sample(identity))
    if isinstance(settings, Trouble):
        return settings
    if identity is None and public is not None:
        identity = yield from local(in_ssh_folder, public)
    if identity is not None:
        wrong = yield from _of_key(public, identity)
    elif public is not None and not any(name in settings for name in _OTHER_KEYS):
        wrong = yield from _of_agent(public, "The private key that goes with the public one")
    else:
        wrong = None
    return wrong or (yield from _of_network(session, settings))


def is_from_ssh(host: str, port: int | None, line: str) -> bool:
    """Does ssh itself say that it could not connect for a reason on this side?

    `line`: the last line it wrote. The whole line must be ssh's, in this system's words: a
    machine's output comes in other lines.
    """
    begin = f"ssh: connect to host {host} port {port}: "
    return line.startswith(f"ssh: Could not resolve hostname {host}: ") or line in [
        begin + os.strerror(number) for number in _CONNECTING
    ]


def _settings(target: Target) -> Flow[dict[str, str] | Trouble]:
    """OpenSSH's reading of our options."""
    done: Done = yield Exec(target.ssh(None, "-G", *ALONE), b"", _WITHIN_S)
    if done.errno == errno.ENOENT:
        return Trouble(
            "ssh is not installed, and verification needs it. Install openssh-client, or give "
            'verify="none".',
            InvalidInputError,
        )
    if done.errno is not None:
        said = os.strerror(done.errno)
        return Trouble(f"ssh can't be started here: {said}. See: ulimit -a", CloreAPIError)
    if done.code != 0:
        said = last_words(done.err) or f"it ended with {done.code}"
        return Trouble(
            f"ssh does not accept its options here ({said}). Look at: clore config get ssh_options"
        )
    lines = (line.partition(" ") for line in done.out.decode("utf-8", "replace").splitlines())
    return {name: value for name, _, value in lines if value != "none"}


def _of_key(public: str | None, identity: Path) -> Flow[Trouble | None]:
    if identity.suffix == ".pub":  # its private key is in an agent
        return None
    done: Done = yield Exec(key_pairs.public_half(identity), b"", _WITHIN_S)
    if done.errno is not None:
        return None  # no ssh-keygen: ssh will report it
    if done.code != 0 and (yield from local(key_pairs.has_passphrase, identity)):
        what = f"The key {identity} has a passphrase, and its public half"
        return None if public is None else (yield from _of_agent(public, what, identity))
    if done.code != 0:
        fault = yield from local(key_pairs.fault, identity)
        return Trouble(f"The key can't be used: {fault}")
    made = done.out.decode("utf-8", "replace")
    if public is not None and key_pairs.bare(made) != key_pairs.bare(public):
        return Trouble(
            f"The key {identity} does not belong to the public key beside it, so no machine would "
            f"accept it. Write the public key again: ssh-keygen -y -f {identity} > {identity}.pub"
        )
    return None


def _of_agent(public: str, what: str, identity: Path | None = None) -> Flow[Trouble | None]:
    done: Done = yield Exec(("ssh-add", "-L"), b"", _WITHIN_S)
    held = [key_pairs.bare(line) for line in done.out.decode("utf-8", "replace").splitlines()]
    if done.code == 0 and key_pairs.bare(public) in held:
        return None
    return Trouble(
        f"{what} is held by no ssh-agent here, so no login would work. Run: "
        f"ssh-add {identity or 'FILE'}"
    )


def _of_network(session: Session, settings: dict[str, str]) -> Flow[Trouble | None]:
    jump = settings.get("proxyjump", "").partition(",")[0].rpartition("@")[2]
    if jump:
        host, port = _address(jump)
        why = yield Way(host, port, opens=True)
        what = f"The jump host {host}:{port} of ssh_options can't be reached ({why})."
    elif "proxycommand" in settings:
        return None
    else:
        why = yield Way(session.access.host, _HTTPS_PORT)
        what = f"SSH can't get out of this machine ({why})."
    return Trouble(what, TransportError) if why else None


def _address(text: str) -> tuple[str, int]:
    """``HOST``, ``HOST:PORT`` or ``[HOST]:PORT``."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = text, ""
    return host.strip("[]"), int(port) if port.isdigit() else _SSH_PORT
