"""`Kit`: the folder with a Python and an sftp-server on which an isolated room's tools run.

It holds this Python's interpreter, the modules that are used, their libraries and the loader, and
OpenSSH's sftp-server if there is one. It is mounted read-only at `AT`, and works in a room without
Python, with another C library, or with only a shell. It contains none of the marketplace's own
files or environment.
"""

from __future__ import annotations

import compileall
import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clore_sandbox.provision import nvidia_smi
from clore_sandbox.provision.fence.interior import CannotIsolate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["AT", "RUN", "TOOLS", "Kit", "make_kit", "sftp_server"]

AT = "/opt/clore-sandbox"
"""Where a room sees the kit; within it the order's own tools, and its socket."""
TOOLS = f"{AT}/bin"
RUN = f"{AT}/run"

_FIRST = Path(__file__).with_name("_room_program.py")
_SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
)
_NO_SFTP = (
    "echo 'This room has no sftp-server: install openssh-sftp-server, or copy with scp -O' >&2;"
    " exit 127"
)
_PROBE = """
import encodings.idna, json, os, runpy, sys
for program in sys.argv[1:]:
    runpy.run_path(program)
try:
    import ctypes
except ImportError:
    pass
with open("/proc/self/maps") as maps:
    mapped = sorted({line.split(None, 5)[5].strip() for line in maps if "/" in line})
modules = [getattr(m, "__file__", None) for m in list(sys.modules.values())]
print(json.dumps({
    "mapped": mapped,
    "modules": sorted({file for file in modules if file and os.path.exists(file)}),
    "stdlib": os.path.dirname(os.path.abspath(json.__path__[0])),
    "subfolder": f"{sys.platlibdir}/python{sys.version_info[0]}.{sys.version_info[1]}",
    "executable": os.path.realpath(sys.executable),
}))
"""


@dataclass(frozen=True)
class Kit:
    """A kit in a folder of this machine."""

    folder: Path
    loader: Sequence[str]
    has_sftp: bool

    @property
    def python(self) -> list[str]:
        """The command of the interpreter in a room; it needs `env`."""
        return [*self.loader, f"{AT}/python3", "-X", "utf8", "-S", "-s"]

    @property
    def env(self) -> Mapping[str, str]:
        """The environment that the interpreter needs."""
        return {"PYTHONHOME": f"{AT}/python"}

    def first(self, where: str) -> list[str]:
        """The command of the room's first process, which connects to the marketplace at `where`."""
        return [*self.python, f"{AT}/{_FIRST.name}", where]

    def files(self, programs: Sequence[str]) -> list[str]:
        """The command of the SFTP server, for a room that has these programs."""
        for path in _SFTP_SERVERS:
            if path in programs:
                return [path]
        if self.has_sftp:
            return [*self.loader, f"{AT}/sftp-server"]
        return ["/bin/sh", "-c", _NO_SFTP]


def make_kit(folder: Path) -> Kit:
    """Fill a folder, after emptying it.

    Raises:
        CannotIsolate: This Python cannot list its own files.
    """
    shutil.rmtree(folder, ignore_errors=True)
    libraries = folder / "lib"
    libraries.mkdir(parents=True)
    for mounted_over in ("bin", "run"):
        (folder / mounted_over).mkdir()
    programs = [str(_FIRST), str(nvidia_smi.PROGRAM)]
    try:
        probe = subprocess.run(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-S", "-E", "-s", "-c", _PROBE, *programs],
            capture_output=True,
            check=True,
        )
        parts = json.loads(probe.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError) as exc:
        message = "isolated rooms need Linux with /proc: this Python can't list its own files"
        raise CannotIsolate(message) from exc
    stdlib, ours = Path(parts["stdlib"]), folder / "python" / parts["subfolder"]
    _copy_modules(stdlib, [Path(file) for file in parts["modules"]], ours)
    shared = [Path(file) for file in parts["mapped"] if _is_library(Path(file), stdlib)]
    shutil.copy2(parts["executable"], folder / "python3")
    shutil.copy2(_FIRST, folder / _FIRST.name)
    loader = next((file for file in shared if file.name.startswith("ld-")), None)
    server = sftp_server()
    if loader is not None:
        # By the names that programs request: libz.so.1, while libz.so.1.2.13 is mapped.
        extensions = [Path(file) for file in parts["mapped"] if ".so" in Path(file).name]
        for program in (Path(parts["executable"]), *extensions):
            shared += _needed(loader, program)
    if server is not None and loader is not None:
        shutil.copy2(server, folder / "sftp-server")
        shared += _needed(loader, server)
    for file in shared:
        if not (libraries / file.name).exists():
            shutil.copy2(file, libraries / file.name)
    for entry in (folder, *folder.rglob("*")):
        # Rooms may run as other users.
        entry.chmod(0o755 if entry.is_dir() or entry.stat().st_mode & 0o100 else 0o644)
    words = [] if loader is None else [f"{AT}/lib/{loader.name}", "--library-path", f"{AT}/lib"]
    return Kit(folder, words, has_sftp=(folder / "sftp-server").exists())


def sftp_server() -> Path | None:
    """This machine's sftp-server, if it has one."""
    return next((Path(path) for path in _SFTP_SERVERS if Path(path).exists()), None)


def _copy_modules(stdlib: Path, modules: Iterable[Path], ours: Path) -> None:
    files = {*modules, *(stdlib / "encodings").glob("*.py")}
    for file in files:
        if stdlib in file.parents:
            to = ours / file.relative_to(stdlib)
            compiled = _compiled(to)
            compiled.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, to)
            if _compiled(file).exists():
                shutil.copy2(_compiled(file), compiled)
    # The folder is read-only later. Copies that fit their modules are not compiled again.
    compileall.compile_dir(str(ours), quiet=2)


def _compiled(module: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(module)))


def _is_library(file: Path, stdlib: Path) -> bool:
    return ".so" in file.name and stdlib not in file.parents and file.exists()


def _needed(loader: Path, program: Path) -> list[Path]:
    listed = subprocess.run(  # noqa: S603 - the machine's own loader
        [loader, "--list", program], capture_output=True, text=True, check=False
    ).stdout
    words = [line.split("=>")[-1].split()[0] for line in listed.splitlines() if "/" in line]
    return [Path(word) for word in words if word.startswith("/") and Path(word).exists()]
