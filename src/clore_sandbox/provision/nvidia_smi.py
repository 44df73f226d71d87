"""`nvidia-smi` of a room: a small program on its PATH that shows the rented GPUs.

The program is written into the room together with its data, so that it starts fast and does not
depend on where this package lies. It answers the plain table, `-L`, `-i N`, and
`--query-gpu=… --format=csv[,noheader][,nounits]`; an unknown field is refused in the real one's
words. The GPUs idle for ever: no load is simulated.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clore_sandbox.provision import Gpus

__all__ = ["install"]


def install(folder: Path, gpus: Gpus) -> None:
    """Put `nvidia-smi` into a folder that is on the room's PATH."""
    data = {
        "names": list(gpus.names),
        "memory_mib": round(gpus.memory_gb * 1024),
        "power_limits_w": list(gpus.power_limits_w),
        "cuda": gpus.cuda_version,
    }
    (folder / ".gpus.json").write_text(json.dumps(data), encoding="utf-8")
    program = Path(__file__).with_name("_nvidia_smi_program.py").read_text(encoding="utf-8")
    (folder / ".nvidia-smi.py").write_text(program, encoding="utf-8")
    launcher = folder / "nvidia-smi"
    python = shlex.quote(sys.executable)
    launcher.write_text(
        f'#!/bin/sh\nexec {python} -I -S {shlex.quote(str(folder / ".nvidia-smi.py"))} "$@"\n',
        encoding="utf-8",
    )
    launcher.chmod(0o700)
