"""Which files of a folder go to the machine: all but what `.gitignore` and `.cloreignore` name.

Git itself reads both, nested ones and negations too, also where the folder is no repository. What
git tracks goes even where a `.gitignore` names it, as git has it; a `.cloreignore` counts for all.
``.git`` stays here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from clore_ai.exceptions import InvalidInputError

IGNORES = (".gitignore", ".cloreignore")
_NOT_ROOT = 128


def files(folder: Path, without: tuple[str, ...] = ()) -> list[bytes]:
    """The files' paths below `folder`, sorted; symbolic links as they are, no folders.

    Args:
        folder: the working folder.
        without: folders in it that stay here, e.g. what comes back from there.

    Raises:
        InvalidInputError: it can't be read, or there is something to ignore and no git.
    """
    try:
        found = _by_git(folder) if shutil.which("git") else _walked(folder)
    except OSError as exc:
        raise InvalidInputError(
            f"The working folder can't be read: {exc.filename}: {exc.strerror}."
        ) from exc
    shut = [os.fsencode(os.path.normpath(each)) for each in without]
    return sorted(
        path for path in found if not any(path == s or path.startswith(s + b"/") for s in shut)
    )


def _by_git(folder: Path) -> set[bytes]:
    inside = _git(folder, "rev-parse", "--is-inside-work-tree").strip() == b"true"
    if inside:
        return _listed(folder, ())
    with tempfile.TemporaryDirectory(prefix="clore-git-") as empty:
        _git(folder, "init", "-q", "--bare", empty)
        return _listed(folder, (f"--git-dir={empty}", f"--work-tree={folder}"))


def _listed(folder: Path, place: tuple[str, ...]) -> set[bytes]:
    """What git tracks or would, without what a `.cloreignore` names."""
    ours = ("-i", "--exclude-per-directory=.cloreignore")

    def ls_files(*words: str) -> set[bytes]:
        return set(_git(folder, *place, "ls-files", "-z", *words).split(b"\0"))

    found = ls_files("-c", "-o", "--exclude-standard")
    if any(os.path.basename(path) == b".cloreignore" for path in found):
        found -= ls_files("-c", *ours) | ls_files("-o", *ours)
    paths: set[bytes] = set()
    base = os.fsencode(folder)
    for path in found - {b""}:
        whole = os.path.join(base, path)
        if os.path.isdir(whole) and not os.path.islink(whole):  # another repository in this one
            inner = _by_git(Path(os.fsdecode(whole)))
            paths |= {os.path.join(path, below) for below in inner}
        elif os.path.lexists(whole):  # else git tracks it, and it was removed
            paths.add(path)
    return paths


def _git(folder: Path, *words: str) -> bytes:
    # Not the variables of a hook or of another repository that this may be started from.
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(  # noqa: S603 - the user's own git, no shell
        ["git", "-c", "safe.directory=*", *words],  # noqa: S607 - likewise
        cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False,
        start_new_session=True,  # Ctrl-C on the terminal is for the job, not for this
    )  # fmt: skip
    if done.returncode and not (done.returncode == _NOT_ROOT and words[0] == "rev-parse"):
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise InvalidInputError(f"git can't list the files of {folder}: {said}")
    return done.stdout


def _walked(folder: Path) -> set[bytes]:
    """Every file; there is no git here to read what is to be ignored."""
    found: set[bytes] = set()
    base = os.fsencode(folder)
    for place, folders, names in os.walk(base):
        if b".git" in folders:
            folders.remove(b".git")
        for name in names:
            if os.fsdecode(name) in IGNORES:
                raise InvalidInputError(
                    f"{os.fsdecode(os.path.join(place, name))} says what to leave out, and git, "
                    "which reads it, is not here. Install it: apt-get install git"
                )
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found |= {os.path.relpath(os.path.join(place, name), base) for name in (*names, *links)}
    return found


def below(folder: Path, outputs: tuple[str, ...]) -> list[bytes]:
    """All files of these folders, ignored ones too."""
    base = os.fsencode(folder)
    found: list[bytes] = []
    for each in outputs:
        top = os.path.join(base, os.fsencode(os.path.normpath(each)))
        if os.path.isfile(top):
            found.append(os.path.relpath(top, base))
        for place, _, names in os.walk(top):
            found += [os.path.relpath(os.path.join(place, name), base) for name in names]
    return found


def list_name(folder: Path) -> str:
    """The name of the list of what was sent from there."""
    return "sent-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
