"""Two environments that differ in nothing but clore-ai: ours and PyPI's 0.1.1.

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
    ours = made("bench-ours")
    _install_wheel(ours)
    return Places(Place("ours", ours), Place(THEIRS, released()))


def _install_wheel(python: Path) -> None:
    """Put the wheel of the working tree into the environment, its bytecode compiled."""
    wheels = CACHE / "bench-wheel"
    for old in wheels.glob("*.whl"):
        old.unlink()
    pip(Path(sys.executable), "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), ".")
    wheel = next(wheels.glob("*.whl"))
    pip(python, "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel))
