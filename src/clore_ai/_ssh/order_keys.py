"""SSH access to orders: each order's host key and private key, in the state folder.

The user's own OpenSSH does the rest; `_ssh.target` makes its command lines.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Callable
from urllib.parse import urlsplit

from clore_ai._ssh.key_pairs import bare
from clore_ai._ssh.target import USER, Target, options, unkept
from clore_ai._state.folder import private_folder, read_private, unwritable, write_private
from clore_ai._state.lock import locked, opened
from clore_ai._values.public_key import is_public
from clore_ai.exceptions import ConfigError, InvalidInputError

if TYPE_CHECKING:
    from clore_ai.models import Order

_SSH_PORT = 22


class Access:
    """The SSH files of the orders of one marketplace; each marketplace has its own.

    Args:
        home: the state folder; created with the first file.
        base_url: the marketplace's address; `place` is its name in files.
        ssh_options: the user's own options, for all connections.
    """

    def __init__(self, home: Path, base_url: str, ssh_options: tuple[str, ...] = ()) -> None:
        self.home, self._ssh_options = home, ssh_options
        address = urlsplit(base_url)
        self.place = re.sub(r"[^\w.-]", "_", address.netloc)
        self.host = address.hostname or ""
        self._made: dict[int, str] = {}
        """The public keys of orders without files, for the lifetime of the client."""

    def folder(self, order_id: int) -> Path:
        """The folder of one order's files."""
        return self.home / "orders" / self.place / str(order_id)

    def remember(self, order: Order, identity: Path | None, public: str | None = None) -> None:
        """Create a new order's folder, with its key.

        Args:
            order: a new order.
            identity: the private key's file, if it is known.
            public: the public key that the machine got. Its private key is looked for in the
                user's ``~/.ssh`` and, when it is used, in the user's agent.

        Raises:
            OSError: the state folder can't be written.
        """
        folder = self.folder(order.id)
        shutil.rmtree(folder, ignore_errors=True)  # a local marketplace may reuse an id
        for part in (*reversed(folder.relative_to(self.home).parents), folder):
            private_folder(self.home / part)
        write_private(folder / "created", f"{order.ct or ''}\n")
        if identity is None and public is not None:
            write_private(folder / "key.pub", f"{public.strip()}\n")
            identity = in_ssh_folder(public)
        if identity is not None:
            write_private(folder / "identity", f"{identity}\n")

    def note(self, order: Order, public: str) -> None:
        """Remember the public key of a new order, if no files are kept."""
        self._made[order.id] = public

    def known(self, order: Order) -> bool:
        """Does the folder belong to this order, not to an earlier one with the same id?"""
        try:
            created = read_private(self.folder(order.id) / "created").decode().strip()
            return not created or order.ct is None or float(created) == order.ct
        except (OSError, ValueError):  # it does not exist, or is damaged
            return False

    def forget(self, order_id: int) -> None:
        """Remove an ended order's files."""
        shutil.rmtree(self.folder(order_id), ignore_errors=True)

    def identity(self, order_id: int) -> Path | None:
        """The key of an order that was rented here with one.

        A private key, or a public one whose private key the user's agent may hold.
        """
        folder = self.folder(order_id)
        try:
            private = Path(read_private(folder / "identity").decode().strip())
            if private.is_file():
                return private
        except (OSError, ValueError):
            pass
        public = folder / "key.pub"
        with suppress(OSError):  # not readable
            return public if public.is_file() else None
        return None

    @property
    def jumps(self) -> bool:
        """Do the user's `ssh_options` lead through another host?

        Then only ssh can check whether a machine answers: it may not be reachable directly.
        """
        names = (word.partition("=")[::2] for word in self._ssh_options[1::2])
        return any(
            name.strip().lower() in ("proxyjump", "proxycommand") and value.strip() != "none"
            for name, value in names
        )

    def sample(self, identity: Path | None) -> Target:
        """As `target`, without an order: for `ssh -G`, which does not connect."""
        words = options(Path(os.devnull), identity, self._ssh_options)
        return Target(0, "host", _SSH_PORT, words)

    def target(
        self,
        order: Order,
        host: str | None = None,
        user: str = USER,
        on_message: Callable[[str], object] = lambda _message: None,
    ) -> Target:
        """The SSH target of an order, at `host` or the first host that the service names.

        Hosts and ports are reused by other renters' containers, so an order's host key is kept with
        the order, never in the user's known_hosts. If its file can't be written, the key is not
        kept, and `on_message` is called with the reason.

        Raises:
            InvalidInputError: the order has no SSH address yet.
        """
        host = host or order.ssh_host
        if host is None or order.ssh_port is None:
            raise InvalidInputError(f"Order {order.id} has no SSH address yet.", 2)
        folder = self.folder(order.id)
        known_hosts = folder / "known_hosts"
        if not self.known(order):
            try:
                self.remember(order, None)
            except OSError as exc:
                on_message(f"The host key can't be saved in {folder}: {exc.strerror}.")
                known_hosts = Path(os.devnull)
        return Target(order.id, host, order.ssh_port, self._options(order, known_hosts), user)

    def line(self, order: Order) -> str | None:
        """A shell command that opens a shell on the machine; no file is written for it.

        None while the order has no SSH address.
        """
        if order.ssh_host is None or order.ssh_port is None:
            return None
        if self.known(order):
            words = self._options(order, self.folder(order.id) / "known_hosts")
        else:
            public = self._made.get(order.id)
            identity = None if public is None else in_ssh_folder(public)
            words = unkept(identity, self._ssh_options)
        address = (f"{USER}@{order.ssh_host}", "-p", str(order.ssh_port))
        return shlex.join(("ssh", *address, *words))

    def _options(self, order: Order, known_hosts: Path) -> tuple[str, ...]:
        identity = self.identity(order.id)
        if identity is None and has_own_key(self.home):
            # The order was rented with a password, elsewhere, or by an interrupted `deploy`.
            identity = own_key_file(self.home)
        return options(known_hosts, identity, self._ssh_options)


def in_ssh_folder(public: str) -> Path | None:
    """The private key in the user's ``~/.ssh`` that this public key belongs to."""
    wanted = bare(public)
    try:
        for file in sorted(Path.home().joinpath(".ssh").glob("*.pub")):
            if bare(file.read_text("utf-8", "replace")) == wanted:
                private = file.with_suffix("")
                return private if private.is_file() else None
    except (OSError, RuntimeError):  # no home folder, or not readable
        pass
    return None


def own_key_file(home: Path) -> Path:
    """The path of the default private key for orders."""
    return home / "ssh" / "id_ed25519"


def has_own_key(home: Path) -> bool:
    """Does the default key exist, as far as we can see?"""
    try:
        return own_key_file(home).is_file()
    except OSError:  # the state folder is not readable
        return False


def own_key(home: Path) -> tuple[str, Path]:
    """The default public key for orders, and its private key's file.

    Created once, with `ssh-keygen`, in the state folder.

    Raises:
        InvalidInputError: ssh-keygen is not installed, or it failed.
        ConfigError: the state folder can't be written, or the public key is damaged.
    """
    path = own_key_file(home)
    public = path.with_suffix(".pub")
    try:
        if not _is_whole(path):
            private_folder(home)
            private_folder(path.parent)
            # If two first commands run at once, the second uses the first one's key.
            with opened(path.with_suffix(".lock")) as file:
                locked(file, path)
                if not _is_whole(path):
                    _make_key(path)
        text = public.read_text("utf-8", "replace").strip()
    except OSError as exc:
        raise ConfigError(unwritable(home, exc)) from exc
    if not is_public(text):
        raise ConfigError(
            f"{public} is damaged; nothing was rented. Restore it: "
            f"ssh-keygen -y -f {path} > {public}"
        )
    return text, path


def _is_whole(path: Path) -> bool:
    return path.with_suffix(".pub").is_file() and path.is_file()


def _make_key(path: Path) -> None:
    """Create the pair beside its place: once the public key exists, both are complete."""
    public = path.with_suffix(".pub")
    new, new_public = path.with_suffix(".new"), path.with_suffix(".new.pub")
    for file in (public, new, new_public):
        file.unlink(missing_ok=True)
    try:
        subprocess.run(  # noqa: S603 - fixed arguments
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "clore", "-f", str(new)],  # noqa: S607 - the user's own
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    except FileNotFoundError as exc:
        raise InvalidInputError(
            "ssh-keygen is not installed, so no key can be created. Install openssh-client, or "
            "give --ssh-password or --ssh-key-file.",
            2,
        ) from exc
    except subprocess.CalledProcessError as exc:
        stderr = " ".join(exc.stderr.decode("utf-8", "replace").split())
        raise InvalidInputError(
            f"ssh-keygen could not create {path} ({stderr}); give --ssh-key-file or "
            "--ssh-password.",
            2,
        ) from exc
    new.replace(path)
    new_public.replace(public)


def key_file(path: Path) -> tuple[str, Path | None]:
    """A public key and its private key's file, from the path of either.

    Raises:
        InvalidInputError: neither that file nor the one beside it is a public key.
    """
    public = path if path.suffix == ".pub" else Path(f"{path}.pub")
    try:
        text = public.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInputError(
            f"There is no public key at {public}; give the file whose name ends in .pub.", 2
        ) from exc
    private = public.with_suffix("")
    return text, private.absolute() if private.is_file() else None
