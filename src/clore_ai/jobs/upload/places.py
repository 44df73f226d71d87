"""Which folders may be a working folder: none that is private, or holds all that a user has.

Folders are compared by device and inode, not by name: a link, a bind mount or another spelling is
the same folder.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from clore_ai._state.folder import state_folder
from clore_ai._values.text import plain
from clore_ai.exceptions import ConfigError, InvalidInputError
from clore_ai.jobs.upload import private

if TYPE_CHECKING:
    from clore_ai.jobs.upload.words import Words


def check(place: Path, home: Path | None, words: Words, *, really: bool) -> None:
    """Refuse a working folder that is private or, unless `really`, holds private folders.

    Args:
        place: the working folder, resolved.
        home: the state folder in use.
        words: how the user names another folder, or allows this one.
        really: the user confirmed it.

    Raises:
        InvalidInputError: the folder is refused.
    """
    elsewhere = f"Put the job into a folder of its own, and name that folder: {words.folder}"
    around = (place, *place.parents)
    states = {same(each) for each in homes(home)} - {None}
    if states & {same(each) for each in around}:
        raise InvalidInputError(
            f"Nothing of {plain(str(place))} is ever uploaded: it is clore's own state folder, or "
            f"in it. {elsewhere}"
        )
    for each in around:
        if private.never(os.fsencode(each.parent.name), os.fsencode(each.name)):
            raise InvalidInputError(
                f"Nothing of {plain(str(each))} is ever uploaded: programs keep keys and "
                f"passwords there. {elsewhere}"
            )
    held = None if really else _held(place, home)
    if held is not None:
        raise InvalidInputError(
            f"The folder {plain(str(place))} holds {held}. {elsewhere}. If you mean it, add "
            f"{words.really}"
        )


def homes(home: Path | None = None) -> list[Path]:
    """The state folders of this user: the one in use, and the usual ones."""
    found = [] if home is None else [home]
    with suppress(ConfigError, KeyError, RuntimeError):  # no home folder
        found += [state_folder(), Path.home() / ".clore"]
    return found


def same(place: str | Path) -> tuple[int, int] | None:
    """The identity of a folder, however it is spelled; None if it does not exist."""
    try:
        found = os.stat(place)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _held(place: Path, home: Path | None) -> str | None:
    """What this folder is, or holds, of a user's own."""
    this = same(place)
    found: list[tuple[str, Path]] = [
        ("all files of this computer", Path(place.anchor)),
        *(("your home folder, with your keys and passwords", each) for each in _users()),
        *(("clore's state folder, with its keys", each) for each in homes(home)),
    ]
    for what, where in found:
        whole = Path(os.path.realpath(where))
        if any(same(each) == this for each in (whole, *whole.parents)):
            return what
    return None


def _users() -> list[Path]:
    """The home folder from the environment, and the one from the system."""
    found: list[Path] = []
    with suppress(KeyError, RuntimeError):
        found.append(Path.home())
    with suppress(KeyError):
        import pwd  # Windows has none, and runs no jobs

        found.append(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return found
