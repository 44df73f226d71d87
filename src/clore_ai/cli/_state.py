"""What the command line keeps of an order, in the state folder: its host key and its identity."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clore_ai.config import private_folder, state_folder, write_private
from clore_ai.exceptions import ConfigError, InvalidInputError

if TYPE_CHECKING:
    from clore_ai.models import Order


def order_folder(base_url: str, order_id: int) -> Path:
    """Where the files of one order are; ids of two marketplaces never meet."""
    place = re.sub(r"[^\w.-]", "_", urlsplit(base_url).netloc)
    return state_folder() / "orders" / place / str(order_id)


def remember(base_url: str, order: Order, identity: Path | None) -> None:
    """Begin a new order's folder, with the private key that opens it, where there is one.

    Raises:
        OSError: the state folder can't be written.
    """
    folder = order_folder(base_url, order.id)
    shutil.rmtree(folder, ignore_errors=True)  # an id that a local marketplace gave out before
    for part in (*reversed(folder.relative_to(state_folder()).parents), folder):
        private_folder(state_folder() / part)
    write_private(folder / "created", f"{order.ct or ''}\n")
    if identity is not None:
        write_private(folder / "identity", f"{identity}\n")


def known(base_url: str, order: Order) -> bool:
    """Is this order's folder there, and not that of an earlier order with the same id?"""
    try:
        created = (order_folder(base_url, order.id) / "created").read_text("utf-8").strip()
    except OSError:
        return False
    return not created or order.ct is None or float(created) == order.ct


def forget(base_url: str, order_id: int) -> None:
    """Remove an ended order's files."""
    shutil.rmtree(order_folder(base_url, order_id), ignore_errors=True)


def identity_of(base_url: str, order_id: int) -> Path | None:
    """The private key that opens an order, if it was rented with one of ours."""
    try:
        text = (order_folder(base_url, order_id) / "identity").read_text("utf-8").strip()
    except OSError:
        return None
    return Path(text) if Path(text).is_file() else None


def own_key_file() -> Path:
    """Where the private key that orders get when none is named is, or will be."""
    return state_folder() / "ssh" / "id_ed25519"


def has_own_key() -> bool:
    """Is it there, and can it be seen?"""
    try:
        return own_key_file().is_file()
    except OSError:  # the state folder is closed to this user
        return False


def folder_for(name: str) -> Path:
    """A folder in the state folder, made where it is not there.

    Raises:
        ConfigError: it can't be made.
    """
    try:
        return private_folder(private_folder(state_folder()) / name)
    except OSError as exc:
        raise ConfigError(_unwritable(exc)) from exc


def _unwritable(exc: OSError) -> str:
    return (
        f"The state folder {state_folder()} can't be written ({exc.strerror}); name another with "
        "CLORE_HOME."
    )


def own_key() -> tuple[str, Path]:
    """The public key and the private key's file that orders get when none is named.

    Made once, with `ssh-keygen`, in the state folder.

    Raises:
        InvalidInputError: there is no ssh-keygen here, or it failed.
        ConfigError: the state folder can't be written.
    """
    path = own_key_file()
    try:
        there = path.with_suffix(".pub").is_file() and path.is_file()
        if not there:
            private_folder(state_folder())
            private_folder(path.parent)
            path.unlink(missing_ok=True)
    except OSError as exc:
        raise ConfigError(_unwritable(exc)) from exc
    if not there:
        try:
            subprocess.run(  # noqa: S603 - fixed arguments
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "clore", "-f", str(path)],  # noqa: S607 - the user's own
                check=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
            )
        except FileNotFoundError as exc:
            raise InvalidInputError(
                "There is no ssh-keygen here to make a key with. Install openssh-client, "
                "or give --ssh-password or --ssh-key-file.",
                2,
            ) from exc
        except subprocess.CalledProcessError as exc:
            said = " ".join(exc.stderr.decode("utf-8", "replace").split())
            raise InvalidInputError(
                f"ssh-keygen could not make {path} ({said}); "
                "give --ssh-key-file or --ssh-password.",
                2,
            ) from exc
    return path.with_suffix(".pub").read_text("utf-8").strip(), path


def key_file(path: Path) -> tuple[str, Path | None]:
    """A public key and its private file, from the path of either.

    Raises:
        InvalidInputError: it is no public key, and there is none beside it.
    """
    public = path if path.suffix == ".pub" else Path(f"{path}.pub")
    try:
        text = public.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInputError(
            f"No public key at {public}; give the file whose name ends in .pub.", 2
        ) from exc
    private = public.with_suffix("")
    return text, private.absolute() if private.is_file() else None
