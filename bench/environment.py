"""Two environments that differ only in clore-ai: ours and PyPI's 0.1.1.

Ours is the wheel of the working tree, built each time; see `tools.own_environment`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tools.own_environment import CACHE, RELEASED, made, pip, released

THEIRS = RELEASED


@dataclass(frozen=True)
class Place:
    """An interpreter with a clore-ai, and its console scripts."""

    name: str
    python: Path

    @property
    def clore(self) -> Path:
        """The `clore` command."""
        return self.python.with_name("clore")


@dataclass(frozen=True)
class Places:
    """The places of ours and theirs; without theirs, only ours is measured."""

    ours: Place
    theirs: Place | None


def here() -> Places:
    """Ours as installed here, with nothing to compare."""
    return Places(Place("ours", Path(sys.executable)), None)


def prepare() -> Places:
    """Both environments, created if they are missing or out of date.

    Raises:
        subprocess.CalledProcessError: pip failed and has printed the reason.
    """
    ours = made("bench-ours")
    _install_wheel(ours)
    return Places(Place("ours", ours), Place(THEIRS, released()))


def _install_wheel(python: Path) -> None:
    """Install the working tree's wheel into the environment and compile its bytecode."""
    wheels = CACHE / "bench-wheel"
    for old in wheels.glob("*.whl"):
        old.unlink()
    pip(Path(sys.executable), "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), ".")
    wheel = next(wheels.glob("*.whl"))
    pip(python, "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel))
