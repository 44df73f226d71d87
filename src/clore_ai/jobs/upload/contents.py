"""Checks what would be uploaded against the user's consent, before a machine is rented.

A folder that holds all of a user's life (the home folder, the state folder) is refused. So are
files that look like secrets, and more than 200 MB, until the user allows exactly these. The command
line asks; in Python there are parameters.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clore_ai._ssh.copy import MOST_UPLOAD
from clore_ai._values import sizes
from clore_ai._values.text import plain
from clore_ai.exceptions import InvalidInputError
from clore_ai.jobs.upload import places, private
from clore_ai.jobs.upload import selection as folder
from clore_ai.jobs.upload.words import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from clore_ai.jobs.upload.words import Words

_SHOWN, _LONGEST = 20, 1000
"""Names in a sentence, and characters of a name, which the user may have to type."""


@dataclass(frozen=True)
class Consent:
    """What the user allows to be uploaded beyond what is safe.

    `secrets`: files, or folders with everything in them, below the working folder. `really`: the
    working folder may hold the home folder or the state folder.
    """

    secrets: tuple[str, ...] = ()
    most_bytes: int = sizes.read(MOST_UPLOAD)
    really: bool = False

    @classmethod
    def of(cls, secrets: Sequence[str], max_upload: str, *, really: bool) -> Consent:
        """The consent, from the clients' parameters.

        Raises:
            InvalidInputError: `max_upload` is not a size.
        """
        if isinstance(secrets, str):
            raise InvalidInputError("send_secrets is a list of names, not one text.")
        try:
            return cls(tuple(secrets), sizes.read(max_upload), really)
        except ValueError as exc:
            raise InvalidInputError(f"max_upload: {exc}") from None


@dataclass(frozen=True)
class Upload:
    """The files to upload: listed at upload time, with the secrets that were agreed to."""

    folder: Path
    outputs: tuple[str, ...] = ()
    home: Path | None = None
    secrets: frozenset[bytes] = frozenset()

    def paths(self, *, resend: bool = False) -> tuple[list[bytes], str | None]:
        """The files as they are now, and a sentence on those that are left out.

        `resend`: include the outputs so far, for a second machine.

        Raises:
            InvalidInputError: they can't be listed.
        """
        found = folder.files(self.folder, self.outputs, self.home)
        late = [path for path in secrets(found, self.folder) if path not in self.secrets]
        said = None
        if late:
            said = f"Not uploaded, as it looks like a secret and is new: {_listed(_names(late))}."
            found = sorted({*found} - {*late})
        if resend:  # the user was asked about files from before; all others came from a machine
            found = sorted({*found, *folder.below(self.folder, self.outputs, self.home)})
        return found, said


@dataclass(frozen=True)
class Contents:
    """What would be uploaded. Names are safe to print.

    `biggest`: the top-level folders with their bytes, the biggest first. `strays`: links that point
    outside. `unnamed`: those of `secrets` that the user has not named.
    """

    upload: Upload
    count: int
    size: int
    biggest: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    strays: list[str] = field(default_factory=list[str])
    secrets: list[str] = field(default_factory=list[str])
    unnamed: list[str] = field(default_factory=list[str])

    def why_not(self, consent: Consent, words: Words) -> str | None:
        """What the user has not allowed yet, and how to allow it; None if nothing is left."""
        said: list[str] = []
        if self.unnamed:
            several = len(self.unnamed) > 1
            said.append(
                f"{'These files look like secrets' if several else 'This file looks like a secret'}"
                f", which the machine's owner could read: {_listed(self.unnamed)}. Leave "
                f"{'them' if several else 'it'} out with a .cloreignore, or allow it: "
                f"{words.secret(self.unnamed[:_SHOWN])}"
            )
        if self.size > consent.most_bytes:
            room = f"{-(-self.size // sizes.MB)}MB"
            said.append(
                f"{sizes.in_words(self.size)} would be uploaded, more than "
                f"{sizes.in_words(consent.most_bytes)}. Leave out what the job does not need "
                f"with a .cloreignore, or allow it: {words.size(room)}"
            )
        return "\n".join(said) or None


def look(
    place: Path,
    outputs: Sequence[str],
    consent: Consent,
    home: Path | None,
    words: Words = PYTHON,
    *,
    resends: bool = False,
) -> Contents:
    """List what would be uploaded of this folder; nothing is sent.

    Args:
        place: the working folder.
        outputs: paths in it, which stay here.
        consent: what the user allows.
        home: the state folder in use.
        words: how the user writes the consent.
        resends: outputs may be uploaded, too, once a machine is lost.

    Raises:
        InvalidInputError: the folder is refused, it can't be listed, or a secret that was named
            does not exist.
    """
    places.check(place, home, words, really=consent.really)
    paths = folder.files(place, outputs, home)
    guarded = [*paths, *(folder.below(place, outputs, home) if resends else ())]
    named = [os.fsencode(_relative(each, place)) for each in consent.secrets]
    for each, given in zip(named, consent.secrets):
        if not any(_in(path, each) for path in guarded):
            raise InvalidInputError(
                f"{words.secret([plain(given)])}: no file of that name is uploaded: it is not in "
                f"{plain(str(place))}, is ignored, or is never uploaded."
            )
    found = secrets(guarded, place)
    unnamed = [path for path in found if not any(_in(path, each) for each in named)]
    count, size = 0, 0
    strays: list[bytes] = []
    tops = Counter[bytes]()
    base = os.fsencode(os.path.join(place, ""))
    for path in paths:
        whole = base + path
        try:
            seen = os.lstat(whole)
            if stat.S_ISLNK(seen.st_mode) and _strays(path, os.readlink(whole)):
                strays.append(path)
        except OSError:  # removed meanwhile
            continue
        count += 1
        size += seen.st_size
        top, inside, _ = path.partition(b"/")
        if inside:
            tops[top] += seen.st_size
    biggest = [(plain(os.fsdecode(top)), most) for top, most in tops.most_common(3)]
    upload = Upload(place, tuple(outputs), home, frozenset(found))
    return Contents(upload, count, size, biggest, _names(strays), _names(found), _names(unnamed))


def secrets(paths: Iterable[bytes], place: Path) -> list[bytes]:
    """The paths that look like secrets; a link never does, as it is sent as a link."""
    base = os.fsencode(os.path.join(place, ""))
    return [
        path
        for path in paths
        if private.secret(os.fsdecode(path)) and not os.path.islink(base + path)
    ]


def allowed(
    place: Path,
    outputs: Sequence[str],
    consent: Consent,
    home: Path | None,
    *,
    resends: bool = False,
) -> Upload:
    """The upload, for a caller that can't ask the user.

    Raises:
        InvalidInputError: as `look`, or the user has not allowed all of it.
    """
    found = look(place, outputs, consent, home, resends=resends)
    why = found.why_not(consent, PYTHON)
    if why is not None:
        raise InvalidInputError(f"Nothing was sent. {why}")
    return found.upload


def _relative(given: str, place: Path) -> str:
    return os.path.relpath(given, place) if os.path.isabs(given) else os.path.normpath(given)


def _in(path: bytes, named: bytes) -> bool:
    return path == named or path.startswith(named + b"/")


def _strays(path: bytes, target: bytes) -> bool:
    """Does this link lead out of the folder? Judged by its text alone."""
    led = os.path.normpath(os.path.join(os.path.dirname(path), target))
    return os.path.isabs(led) or led.split(b"/")[0] == b".."


def _names(paths: Iterable[bytes]) -> list[str]:
    return [plain(os.fsdecode(path), _LONGEST) for path in paths]


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f", and {more} more" if more > 0 else "")
