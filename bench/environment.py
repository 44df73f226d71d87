"""Two environments that differ in nothing but clore-ai: ours and PyPI's 0.1.1.

Both are made on first use under `.cache/`, like a user's: clore-ai and what it needs, in the
versions of the development environment. Ours is the wheel of the working tree, built each time.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
THEIRS = "0.1.1"
_NEEDED = ("httpx", "pydantic", "click", "rich")


@dataclass(frozen=True)
class Place:
    """An interpreter that has a clore-ai, and its console scripts."""

    name: str
    python: Path

    @property
    def clore(self) -> Path:
        """The `clore` command."""
        return self.python.with_name("clore")


@dataclass(frozen=True)
class Places:
    """Where to run ours and theirs; without theirs, ours alone is measured."""

    ours: Place
    theirs: Place | None


def here() -> Places:
    """Ours as it is installed here, and nothing to compare with."""
    return Places(Place("ours", Path(sys.executable)), None)


def prepare() -> Places:
    """Both environments, made where they are missing or out of date.

    Raises:
        subprocess.CalledProcessError: pip failed; it has said why.
    """
    pins = {d.name.lower(): d.version for d in distributions()}
    del pins["clore-ai"]
    constraints = "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))
    ours = _made("bench-ours", list(_NEEDED), constraints)
    theirs = _made(f"bench-{THEIRS}", [f"clore-ai=={THEIRS}", *_NEEDED], constraints)
    _install_wheel(ours)
    return Places(Place("ours", ours), Place(THEIRS, theirs))


def _made(name: str, packages: list[str], constraints: str) -> Path:
    """The interpreter of the environment `name` with `packages`."""
    folder, pins, made = CACHE / name, CACHE / f"{name}.pins", CACHE / f"{name}.made"
    python = folder / "bin" / "python"
    wanted = f"{sys.version}\n{constraints}"
    if made.is_file() and made.read_text("utf-8") == wanted and python.exists():
        return python
    print(f"Setting up {folder.relative_to(ROOT)} (once)…", file=sys.stderr, flush=True)
    CACHE.mkdir(exist_ok=True)
    made.unlink(missing_ok=True)
    pins.write_text(constraints, "utf-8")
    venv.create(folder, clear=True, with_pip=True)
    _pip(python, "install", "-c", str(pins), *packages)
    made.write_text(wanted, "utf-8")
    return python


def _install_wheel(python: Path) -> None:
    """Put the wheel of the working tree into the environment, its bytecode compiled."""
    wheels = CACHE / "bench-wheel"
    for old in wheels.glob("*.whl"):
        old.unlink()
    _pip(Path(sys.executable), "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), ".")
    wheel = next(wheels.glob("*.whl"))
    _pip(python, "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel))


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "-qq", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)
