"""Which files of a folder git would track, asked so that nothing there can make git run a program.

The folder may hold repositories that came from a machine, and git runs programs named in a
repository's configuration (``core.fsmonitor``, filters, helpers). So git never reads one: it runs
on an empty repository of ours that is laid over the folder, and takes from the folder only the
files ``.gitignore`` and ``.cloreignore``. From the repository that the folder is in, if it is the
user's own, it also takes the index and ``info/exclude``, which are lists of names. The answer is
only a list of names: `selection` checks each one before it is sent.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from glob import escape, glob
from typing import TYPE_CHECKING

from clore_ai._values.text import plain
from clore_ai.exceptions import InvalidInputError
from clore_ai.jobs.upload.private import LEFT_OUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

WITHIN_S = 60.0
"""The total time for all git commands on one folder."""
_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tbare = false
\tfsmonitor = false
\tuntrackedCache = false
\thooksPath = /dev/null
"""
_EMPTY = b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
"""The name of git's empty object; it need not exist."""
_INSIDE = b".clore-looks-inside"
_UNREAD = re.compile(rb"unable to access '(.*\.(?:git|clore)ignore)': (.*)")
_MOST = 4096
_CLORE_IGNORES = "--exclude-per-directory=.cloreignore"


def listed(folder: Path, without: Sequence[bytes] = ()) -> set[bytes]:
    """Paths below `folder` that are not ignored, or are tracked; some may not exist.

    Args:
        folder: an absolute path.
        without: paths below it that git does not look into.

    Raises:
        InvalidInputError: git failed.
    """
    top = _top(folder)
    with tempfile.TemporaryDirectory(prefix="clore-git-") as ours:
        git = _Git(folder, top, ours, time.monotonic() + WITHIN_S)
        git.make()
        below = os.fsencode(os.path.relpath(folder, top))
        base = b"" if below == b"." else below + b"/"
        shut = [b"--exclude=/" + _literal(base + each) for each in without]
        defaults = f"--exclude-from={ours}/left-out"
        seen: set[bytes] = set()
        while True:
            found = git.names("-o", "--exclude-standard", *shut)
            found &= git.names("-o", defaults, _CLORE_IGNORES, *shut)
            inner = {path for path in found if path.endswith(b"/")} - seen
            if not inner:
                break
            # Another repository. Git looks into it as into any folder once the index has a file
            # in it, so all ignore files above it also apply inside.
            git.looks_inside(base + path for path in inner)
            seen |= inner
        return found | git.tracked()


def _top(folder: Path) -> Path:
    """The top of the repository that the folder is in, or the folder itself."""
    for place in (folder, *folder.parents):
        dot_git = os.path.join(place, ".git")
        if os.path.isfile(dot_git) or os.path.lexists(os.path.join(dot_git, "HEAD")):
            return place
    return folder


def _literal(path: bytes) -> bytes:
    """A path as a pattern that matches only itself."""
    return re.sub(rb"([\\*?\[\] !#])", rb"\\\1", path)


@dataclass(frozen=True)
class _Git:
    """Git on the empty repository `ours`, with `top` as its work tree, run in `folder`."""

    folder: Path
    top: Path
    ours: str
    until: float
    """The deadline, on the monotonic clock."""

    def make(self) -> None:
        for name in ("objects", "refs", "info"):
            os.mkdir(os.path.join(self.ours, name))
        for name, text in (
            ("HEAD", "ref: refs/heads/none\n"),
            ("config", _CONFIG),
            ("left-out", "".join(f"{each}\n" for each in LEFT_OUT)),
        ):
            with open(os.path.join(self.ours, name), "w", encoding="utf-8") as file:
                file.write(text)
        place = self._repository()
        if place is None:
            return
        common = _line(os.path.join(place, "commondir"))
        exclude = os.path.join(place, common or "", "info", "exclude")
        if os.path.isfile(exclude):
            os.symlink(exclude, os.path.join(self.ours, "info", "exclude"))
        for each in glob(os.path.join(escape(place), "sharedindex.*")):  # parts of a split index
            os.symlink(each, os.path.join(self.ours, os.path.basename(each)))

    def names(self, *words: str | bytes, index: str | None = None) -> set[bytes]:
        return set(self._run("ls-files", "-z", *words, index=index).split(b"\0")) - {b""}

    def looks_inside(self, places: Iterable[bytes]) -> None:
        entries = b"".join(b"100644 %s 0\t%s%s\0" % (_EMPTY, place, _INSIDE) for place in places)
        self._run("update-index", "-z", "--index-info", fed=entries)

    def tracked(self) -> set[bytes]:
        """The tracked files, even if a `.gitignore` names them, but not if a `.cloreignore` does.

        An index that git can't read without the rest of its repository counts as empty.
        """
        place = self._repository()
        index = None if place is None else os.path.join(place, "index")
        if index is None or not os.path.isfile(index):
            return set()
        with suppress(_GitError):
            return self.names("-c", index=index) - self.names(
                "-c", "-i", _CLORE_IGNORES, index=index
            )
        return set()

    def _repository(self) -> str | None:
        """The folder of the repository; None if there is none, or if another user owns it."""
        dot_git = os.path.join(self.top, ".git")
        try:
            owner = os.lstat(dot_git).st_uid
            if owner not in (os.geteuid(), os.stat(self.folder).st_uid):
                return None
        except OSError:
            return None
        if os.path.isdir(dot_git):
            return dot_git
        named = _line(dot_git)
        if named is None or not named.startswith("gitdir: "):
            return None
        return os.path.join(self.top, named[len("gitdir: ") :])

    def _run(self, *words: str | bytes, fed: bytes = b"", index: str | None = None) -> bytes:
        # Without the variables of a hook or of another repository that this may be started from.
        env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        env |= {"LC_ALL": "C", "GIT_INDEX_FILE": index or os.path.join(self.ours, "index")}
        try:
            done = subprocess.run(  # noqa: S603 - no shell
                ["git", f"--git-dir={self.ours}", f"--work-tree={self.top}", *words],  # noqa: S607 - the user's own
                cwd=self.folder, env=env, input=fed, capture_output=True, check=False,
                timeout=max(self.until - time.monotonic(), 0.01),
                start_new_session=True,  # Ctrl-C on the terminal is for the job, not for git
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise InvalidInputError(
                f"git did not list the files of {self.folder} within {WITHIN_S:.0f} s. Look at its "
                ".gitignore and .cloreignore files (a pipe? a pattern of many stars?), leave big "
                "folders out, or use a smaller working folder."
            ) from None
        unread = _UNREAD.search(done.stderr)
        if unread:
            raise InvalidInputError(
                f"git can't read {plain(unread[1])} ({plain(unread[2])}), which says what to leave "
                "out. Make it a readable file, not a link, or remove it."
            )
        if done.returncode:
            raise _GitError(
                f"git can't list the files of {self.folder}: {plain(done.stderr) or 'no reason'}"
            )
        return done.stdout


class _GitError(InvalidInputError):
    """Git itself failed."""


def _line(path: str) -> str | None:
    """The single line of one of git's small files."""
    if not os.path.isfile(path):
        return None
    with suppress(OSError), open(path, "rb") as file:
        return os.fsdecode(file.read(_MOST)).strip()
    return None
