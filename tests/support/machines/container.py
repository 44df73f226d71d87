"""A base image with this Python, pip and the wheels that the marketplace needs; no registry asked.

The wheels are rebuilt from the packages installed here, so that pip in the container has to find,
resolve and install them as it would anywhere.
"""

import io
import shutil
import sys
import sysconfig
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import engine
from packaging.requirements import Requirement

BASE = "clore-test/python"
_PYTHON = Path(sys._base_executable).resolve()
_PYTHON = Path(sys._base_executable).resolve()
_TOOLS = ("sh", "bash", "env", "mkdir", "chown", "chmod", "useradd", "cat", "echo", "id", "sleep")
_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "ensurepip", "tkinter", "site-packages"}
_LEFT_OUT |= {"dist-packages", "__pycache__"}


def import_base(client):
    """Put the base image into this engine."""
    tree = engine._Tree()
    for name in ("bin", "sbin", "lib", "lib64"):
        tree.folder(f"usr/{name}")
        tree.link(name, f"usr/{name}")
    for inside, file in _files().items():
        tree.file(inside, file.read_bytes(), 0o755)
    tree.link("usr/bin/python3", str(_PYTHON))
    for name, data in map(_wheel, _needed()):
        tree.file(f"wheels/{name}", data, 0o644)
    for name, mode in (("tmp", 0o1777), ("home", 0o755), ("root", 0o711), ("etc", 0o755)):
        tree.folder(name, mode)
    tree.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
    tree.file("etc/group", b"root:x:0:\n", 0o644)
    changes = ["ENV PYTHONPATH=/opt/pip PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels"]
    changes.append(f"ENV PATH={engine._PATH}")
    engine._import(client, tree.close(), BASE, changes)


def _files():
    """Paths in the image, with their paths here."""
    found = {f"usr/bin/{name}": Path(shutil.which(name, path=engine._PATH)) for name in _TOOLS}
    found[str(_PYTHON).lstrip("/")] = _PYTHON
    stdlib, pip = Path(sysconfig.get_path("stdlib")), Path(distribution("pip").locate_file("pip"))
    for file in stdlib.rglob("*"):
        if _LEFT_OUT.isdisjoint(file.relative_to(stdlib).parts) and file.suffix != ".a":
            found[str(file).lstrip("/")] = file
    for file in pip.rglob("*"):
        if "__pycache__" not in file.parts:
            found[f"opt/pip/{file.relative_to(pip.parent)}"] = file
    found = {inside: file for inside, file in found.items() if file.is_file()}
    libraries = set()
    for inside, file in found.items():
        if ".so" in file.name or inside.startswith("usr/bin/") or file == _PYTHON:
            libraries |= engine._libraries(file)
    for dist in _needed():
        for file in (Path(file.locate()) for file in dist.files if ".so" in file.name):
            libraries |= {path for path in engine._libraries(file) if path.is_relative_to("/lib")}
    for library in libraries:
        inside = str(library).lstrip("/")
        found[f"usr/{inside}" if inside.startswith("lib") else inside] = library
    return found


def _needed():
    """The packages that the marketplace is installed with, and those that build it."""
    wanted = ["clore-ai[sandbox,postgres]", "hatchling"]
    seen = set()
    while wanted:
        requirement = Requirement(wanted.pop())
        for extra in ("", *requirement.extras):
            key = (requirement.name, extra)
            if key in seen:
                continue
            seen.add(key)
            for line in distribution(requirement.name).requires or []:
                inner = Requirement(line)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    wanted.append(line)
    names = {name.lower().replace("_", "-") for name, _ in seen} - {"clore-ai"}
    return [distribution(name) for name in names]


def _wheel(dist):
    tags = [line[5:] for line in dist.read_text("WHEEL").splitlines() if line.startswith("Tag: ")]
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for file in dist.files:
            path = Path(file.locate())
            if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
                archive.write(path, str(file))
    name = dist.name.replace("-", "_").replace(".", "_")
    return f"{name}-{dist.version}-{tags[0]}.whl", data.getvalue()
