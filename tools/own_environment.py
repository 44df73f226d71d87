"""Makes virtual environments with PyPI's clore-ai 0.1.1, and with a wheel.

Each is created on first use under `.cache/`, like a user's: clore-ai and its dependencies, in the
versions of the development environment. `python -m tools.own_environment` creates that of 0.1.1.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import venv
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
RELEASED = "0.1.1"
_NEEDED = ("httpx", "pydantic", "click", "rich")


def released() -> Path:
    """The interpreter of an environment with PyPI's 0.1.1.

    Raises:
        subprocess.CalledProcessError: pip failed and has printed the reason.
    """
    return made(f"clore-{RELEASED}", f"clore-ai=={RELEASED}")


def made(name: str, *packages: str) -> Path:
    """The interpreter of the environment `name`, created if it is missing or out of date.

    If several processes need it at once, one creates it.
    """
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _made(name, packages)


def pip(python: Path, *arguments: str) -> None:
    """Run an environment's pip; its output goes to stderr."""
    command = [str(python), "-m", "pip", "-qq", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)


def _made(name: str, packages: tuple[str, ...]) -> Path:
    folder, pins, done = CACHE / name, CACHE / f"{name}.pins", CACHE / f"{name}.made"
    python = folder / "bin" / "python"
    versions = {d.name.lower(): d.version for d in distributions()}
    constraints = "".join(
        f"{package}=={version}\n"
        for package, version in sorted(versions.items())
        if package != "clore-ai"
    )
    wanted = f"{sys.version}\n{constraints}"
    if done.is_file() and done.read_text("utf-8") == wanted and python.exists():
        return python
    print(f"Setting up {folder.relative_to(ROOT)} (once)…", file=sys.stderr, flush=True)
    done.unlink(missing_ok=True)
    pins.write_text(constraints, "utf-8")
    venv.create(folder, clear=True, with_pip=True)
    pip(python, "install", "-c", str(pins), *packages, *_NEEDED)
    done.write_text(wanted, "utf-8")
    return python


if __name__ == "__main__":
    print(released())
