"""Installs a simulated `nvidia-smi` in a room, which shows the rented GPUs.

The program is written into the room with its data, so that it starts fast and does not depend on
this package. It supports the plain table, `-L`, `-i N`, and
`--query-gpu=… --format=csv[,noheader][,nounits]`; it refuses an unknown field like the real one.
Utilization, temperature, power and memory follow what runs in the room (on Linux; elsewhere idle).
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clore_sandbox.provision import Gpus

__all__ = ["PROGRAM", "install"]

PROGRAM = Path(__file__).with_name("_nvidia_smi_program.py")


def install(
    folder: Path,
    gpus: Gpus,
    *,
    python: Sequence[str] = (sys.executable, "-I", "-S"),
    env: Mapping[str, str] | None = None,
    seen_at: str | None = None,
    marker: str = "",
) -> None:
    """Put `nvidia-smi` into a folder that is on the room's PATH.

    Args:
        folder: Where it is written.
        gpus: The GPUs that it shows.
        python: The command of the interpreter in the room.
        env: Environment variables that the interpreter needs.
        seen_at: The folder's path in the room, if it is another.
        marker: ``NAME=VALUE`` in the environment of the room's processes, if the room can see
            others too.
    """
    data = {
        "names": list(gpus.names),
        "memory_mib": round(gpus.memory_gb * 1024),
        "power_limits_w": list(gpus.power_limits_w),
        "cuda": gpus.cuda_version,
        "marker": marker,
    }
    program = PROGRAM.read_text(encoding="utf-8")
    words = [*python, f"{seen_at or folder}/.nvidia-smi.py"]
    given = "".join(f"{name}={shlex.quote(v)} " for name, v in (env or {}).items())
    launcher = f'#!/bin/sh\nexec {"env " + given if given else ""}{shlex.join(words)} "$@"\n'
    texts = ((".gpus.json", json.dumps(data)), (".nvidia-smi.py", program))
    for name, text in (*texts, ("nvidia-smi", launcher)):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755 if name == "nvidia-smi" else 0o644)
