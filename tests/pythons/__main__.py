"""Every command once, on several Pythons: `make pythons`, or ``python -m tests.pythons NAME…``.

A NAME is a Python of this machine (``/usr/bin/python3.13``) or a release of Debian, which
debootstrap sets up below .cache/pythons once (as root; bwrap enters it). An environment there gets
the wheel of this tree, and `battery.play` runs against a marketplace on this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from clore_sandbox import Sandbox

from .battery import Battery, BatteryError, play

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "pythons"
PACKAGES = "python3,python3-venv,openssh-client,ca-certificates"
# How this machine reaches its package index.
_NETWORK = ("/etc/resolv.conf", "/etc/pip.conf", "/etc/xdg/pip", "/etc/ssl/certs")
_KEPT = ("PATH", "LANG", "PIP_", "SSL_", "REQUESTS_", "HTTP_", "HTTPS_", "NO_", "http", "no_")


def room(name: str, folder: Path) -> list[str]:
    """The words before a command line that run it where Python `name` is."""
    if "/" in name:
        return []
    root = CACHE / name
    if not (root / "usr" / "bin" / "python3").exists():
        shutil.rmtree(root, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", name, str(root)]
        with (CACHE / f"{name}.log").open("wb") as log:
            subprocess.run(words, check=True, stdout=log, stderr=log)
    inside = [word for path in _NETWORK for word in ("--ro-bind-try", path, path)]
    return [
        *("bwrap", "--bind", str(root), "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
        *(*inside, "--bind", str(folder), str(folder), "--chdir", str(folder)),
    ]


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k.startswith(_KEPT)}
    return {**kept, "HOME": str(folder), **more}


def installed(name: str, folder: Path, before: Sequence[str]) -> tuple[list[str], tuple[int, int]]:
    """A Python with the wheel of this tree installed, and its version."""

    def run(*words: str) -> str:
        done = subprocess.run(
            [*before, *words], env=environment(folder), cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            raise BatteryError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    python = name if "/" in name else "/usr/bin/python3"
    run(python, "-m", "venv", str(folder / "venv"))
    python = str(folder / "venv" / "bin" / "python")
    major, minor = map(int, run(python, "-c", "import sys; print(*sys.version_info[:2])").split())
    (wheel,) = folder.glob("*.whl")
    extra = "[sandbox]" if (major, minor) >= (3, 10) else ""
    run(python, "-m", "pip", "install", "-q", f"{wheel}{extra}")
    return [*before, python], (major, minor)


def battery(name: str) -> str:
    """Play it on one Python; returns what to report."""
    # Under the cache, as a room has a /tmp of its own.
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{Path(name).name}-", dir=CACHE))
    try:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        shutil.copytree(ROOT / "examples", folder / "examples")
        (folder / "work").mkdir()
        python, version = installed(name, folder, room(name, folder))
        with Sandbox(limits=False, visibility_lag_s=0.1, boot_s=0.1, host_servers=1) as market:
            env = environment(folder, **market.environment)
            play(
                Battery(python, env, folder),
                sorted(str(path) for path in (folder / "examples").glob("*.py")),
                sandbox=version >= (3, 10),
            )
        return f"Python {version[0]}.{version[1]}: every command and example works."
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    failed = 0
    for name in sys.argv[1:]:
        try:
            print(f"{name}: {battery(name)}", flush=True)
        except (BatteryError, subprocess.SubprocessError, OSError) as exc:
            failed += 1
            print(f"{name}: FAILED: {exc}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
