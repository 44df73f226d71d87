"""The user's side: a working folder, its surroundings, and the changes to them."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

    from tests.cli.driver import Renter, Result

OUTPUT = "results"
ONE_OUTPUT = "mkdir -p results; echo 1 > results/new"
_OWN = ".clore"
_FILES = {
    "w/train.py": "print('mine')\n",
    "w/results/kept": "mine\n",
    "w/.envrc": "# mine\n",
    "w/.cloreignore": ".envrc\n",
    "w/.git/HEAD": "ref: refs/heads/main\n",
    "w/.git/config": "[core]\n\tbare = false\n",
    "w/.git/objects/info/packs": "",
    "w/.git/refs/heads/.keep": "",
    ".ssh/authorized_keys": "ssh-ed25519 mine\n",
    ".ssh/id_rsa": "the private key\n",
    "victim/secret": "mine\n",
}


@dataclass
class Stage:
    """`base` is the user's home, `w` in it the working folder, `w/results` the fetched output.

    The working folder is a repository. Beside it are files that an attacker would like to reach.
    """

    renter: Renter
    base: Path
    before: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.base / "w"

    @property
    def results(self) -> Path:
        return self.folder / OUTPUT

    def reset(self) -> None:
        """Go back to the first state: nothing has been fetched."""
        for path in self.base.iterdir():
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.name != _OWN:
                shutil.rmtree(path)
        for name, text in _FILES.items():
            file = self.base / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.note()

    def note(self) -> None:
        """Record the present state, which must stay."""
        self.before = self._now()

    def run(self, order: int, *words: object, **more: Any) -> Result:
        """Run `clore run` there to its end; by default a job with one honest output."""
        given = words if "--" in words else (*words, "--", ONE_OUTPUT)
        return self.renter("run", *self._where(order), *given, **more)

    def began(self, order: int, *words: object, **more: Any) -> subprocess.Popen[str]:
        """Start the same beside the test."""
        given = words if "--" in words else (*words, "--", ONE_OUTPUT)
        return self.renter.start("run", *self._where(order), *given, **more)

    def _where(self, order: int) -> tuple[object, ...]:
        return "--order", order, "--folder", self.folder, "--output", OUTPUT

    def check_outside(self) -> None:
        """Check that nothing changed outside the output and clore's own folder."""
        now = self._now()
        odd = [p for p in sorted({*now, *self.before}) if now.get(p) != self.before.get(p)]
        assert not odd, f"changed outside the output: {odd}"

    def check_output(self) -> None:
        """Check that the output has only files, folders and links that stay inside.

        None belongs to another user, has an open mode, runs as another user, or is a repository.
        """
        top = self.results.resolve()
        assert not self.results.is_symlink(), "the output is a link"
        for path in self.results.rglob("*"):
            shown, info = path.relative_to(self.folder), path.lstat()
            kind = stat.S_IFMT(info.st_mode)
            assert kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK), f"{shown} is a device"
            assert info.st_uid == os.geteuid(), f"{shown} belongs to another user"
            odd = path.name.casefold().rstrip(". ")
            assert odd not in (".git", "git~1"), f"{shown} starts hooks"
            if kind == stat.S_IFLNK:
                inside = Path(os.path.normpath(path.parent / path.readlink()))
                assert inside.is_relative_to(top), f"{shown} leads to {path.readlink()}"
                assert path.resolve().is_relative_to(top), f"{shown} leads outside"
                continue
            assert not info.st_mode & 0o7022, f"{shown} has mode {info.st_mode:o}"
            assert kind == stat.S_IFDIR or info.st_nlink == 1, f"{shown} is a hard link"

    def _now(self) -> dict[str, str]:
        found = {}
        for place, folders, files in os.walk(self.base):
            here = Path(place)
            left_out = {self.base: _OWN, self.folder: OUTPUT}.get(here)
            folders[:] = [each for each in folders if each != left_out]
            for name in (*folders, *files):
                path = here / name
                found[str(path.relative_to(self.base))] = _seen(path)
        return found


def resident_kb(pid: int) -> int:
    """The peak memory of a process; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def _seen(path: Path) -> str:
    info = path.lstat()
    held = ""
    if stat.S_ISREG(info.st_mode):
        held = path.read_bytes()[:200].hex()
    elif stat.S_ISLNK(info.st_mode):
        held = str(path.readlink())
    return f"{info.st_mode:o} {info.st_uid} {held}"
