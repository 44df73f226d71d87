"""The program that a room runs as `nvidia-smi`; copied into the room, standard library only.

The GPUs are as busy as the room: each runnable process in it counts as a job on all of them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable

DRIVER = "550.54.15"
_INVALID_ARGUMENT = 2
_NO_DEVICES = 6
_IDLE_TEMPERATURE_C = 34
_BUSY_TEMPERATURE_C = 72
_IDLE_POWER_W = 21.5
_BUSY_POWER_SHARE = 0.9
_SAMPLES, _SAMPLE_EVERY_S = 5, 0.01
_PROC = Path("/proc")
_LOAD_FIELDS = ("pstate", "utilization", "temperature", "power.draw", "memory.used", "memory.free")


class _Data(TypedDict):
    names: list[str]
    memory_mib: int
    power_limits_w: list[float]
    cuda: str
    marker: str


class _Load(NamedTuple):
    """How busy the GPUs are."""

    use_percent: int

    @property
    def temperature_c(self) -> int:
        return _IDLE_TEMPERATURE_C + round(
            (_BUSY_TEMPERATURE_C - _IDLE_TEMPERATURE_C) * self.use_percent / 100
        )

    @property
    def state(self) -> str:
        return "P0" if self.use_percent else "P8"

    def power_w(self, limit_w: float) -> float:
        busy = max(_IDLE_POWER_W, limit_w * _BUSY_POWER_SHARE)
        return _IDLE_POWER_W + (busy - _IDLE_POWER_W) * self.use_percent / 100

    def used_mib(self, memory_mib: int) -> int:
        return memory_mib // 2 if self.use_percent else 1


_IDLE = _Load(0)


def _load(marker: str) -> _Load:
    """The share of samples in which a process of the room was runnable.

    CPU time would not do: on a busy machine it would make a busy GPU look idle.
    """
    mine = _ancestors()
    room = [pid for pid in _pids() if pid not in mine and (not marker or _has_marker(pid, marker))]
    busy = 0
    for sample in range(_SAMPLES if room else 0):
        if sample:
            time.sleep(_SAMPLE_EVERY_S)
        busy += any(_is_runnable(pid) for pid in room)
    return _Load(busy * 100 // _SAMPLES)


def _pids() -> Iterable[int]:
    try:
        return [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208 - half the time
    except OSError:  # not on Linux
        return []


def _ancestors() -> set[int]:
    """This process and its parents."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            stat = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return found


def _has_marker(pid: int, marker: str) -> bool:
    try:
        return marker.encode() in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _is_runnable(pid: int) -> bool:
    """Whether any of its threads runs or waits for a CPU."""
    try:
        for task in (_PROC / str(pid) / "task").iterdir():
            stat = (task / "stat").read_text("utf-8", "replace")
            if stat.rpartition(")")[2].split()[0] == "R":
                return True
    except OSError:
        pass
    return False


def _uuid(index: int) -> str:
    return f"GPU-{index:08x}-c10e-4a1d-b0a7-{index:012x}"


def _fields(data: _Data, index: int, load: _Load) -> dict[str, tuple[str, str]]:
    """Field → value and unit, by the names of `nvidia-smi --help-query-gpu`."""
    memory, limit = data["memory_mib"], data["power_limits_w"][index]
    bus = f"00000000:{index + 1:02X}:00.0"
    values = {
        "timestamp": (time.strftime("%Y/%m/%d %H:%M:%S.000"), ""),
        "driver_version": (DRIVER, ""),
        "count": (str(len(data["names"])), ""),
        "name": (data["names"][index], ""),
        "index": (str(index), ""),
        "uuid": (_uuid(index), ""),
        "serial": ("[N/A]", ""),
        "pci.bus_id": (bus, ""),
        "pci.bus": (f"0x{index + 1:02X}", ""),
        "pstate": (load.state, ""),
        "fan.speed": ("0", "%"),
        "memory.total": (str(memory), "MiB"),
        "memory.reserved": ("0", "MiB"),
        "memory.used": (str(load.used_mib(memory)), "MiB"),
        "memory.free": (str(memory - load.used_mib(memory)), "MiB"),
        "utilization.gpu": (str(load.use_percent), "%"),
        "utilization.memory": (str(load.use_percent // 2), "%"),
        "temperature.gpu": (str(load.temperature_c), ""),
        "power.draw": (f"{load.power_w(limit):.2f}", "W"),
        "power.limit": (f"{limit:.2f}", "W"),
        "compute_mode": ("Default", ""),
        "persistence_mode": ("Enabled", ""),
        "display_mode": ("Disabled", ""),
        "display_active": ("Disabled", ""),
        "mig.mode.current": ("[N/A]", ""),
        "ecc.mode.current": ("[N/A]", ""),
    }
    for alias, name in (
        ("gpu_name", "name"),
        ("gpu_uuid", "uuid"),
        ("gpu_bus_id", "pci.bus_id"),
        ("gpu_serial", "serial"),
    ):
        values[alias] = values[name]
    return values


def _query(data: _Data, shown: list[int], query: str, form: str) -> int:
    options = form.split(",")
    if options[0] != "csv" or not set(options[1:]) <= {"noheader", "nounits"}:
        sys.stdout.write(
            '"--format=" switch is missing or not valid. Must be followed by "csv" and optionally'
            ' "noheader" and "nounits".\n'
        )
        return _INVALID_ARGUMENT
    names = [name.strip() for name in query.split(",")]
    asked = any(name.startswith(_LOAD_FIELDS) for name in names)
    load = _load(data["marker"]) if asked else _IDLE
    rows = [_fields(data, index, load) for index in shown]
    known = _fields({**data, "names": ["-"], "power_limits_w": [0.0]}, 0, load)
    for name in names:
        if name not in known:
            sys.stdout.write(f'Field "{name}" is not a valid field to query.\n\n')
            return _INVALID_ARGUMENT
    units = "nounits" not in options
    if "noheader" not in options:
        heads = [f"{n} [{known[n][1]}]" if known[n][1] else n for n in names]
        sys.stdout.write(", ".join(heads) + "\n")
    for row in rows:
        cells = [f"{row[n][0]} {row[n][1]}" if units and row[n][1] else row[n][0] for n in names]
        sys.stdout.write(", ".join(cells) + "\n")
    return 0


def _row(left: str, middle: str, right: str) -> str:
    return f"| {left:<39} | {middle:>22} | {right:>20} |"


def _table(data: _Data, shown: list[int]) -> str:
    load = _load(data["marker"])
    volatile, gpu_util = "Volatile Uncorr. ECC", "GPU-Util  Compute M."
    edge = "+" + "-" * 41 + "+" + "-" * 24 + "+" + "-" * 22 + "+"
    line = "|" + "-" * 41 + "+" + "-" * 24 + "+" + "-" * 22 + "+"
    double = "|" + "=" * 41 + "+" + "=" * 24 + "+" + "=" * 22 + "|"
    title = f" NVIDIA-SMI {DRIVER:<22} Driver Version: {DRIVER:<14} CUDA Version: {data['cuda']:<9}"
    rows = [
        time.strftime("%a %b %e %H:%M:%S %Y"),
        "+" + "-" * 89 + "+",
        f"|{title:<89}|",
        line,
        _row(
            f"{'GPU  Name':<25}{'Persistence-M':>14}",
            "Bus-Id          Disp.A",
            volatile,
        ),
        _row(f"{'Fan  Temp   Perf':<20}{'Pwr:Usage/Cap':>19}", "Memory-Usage", gpu_util),
        _row("", "", "MIG M."),
        double,
    ]
    for index in shown:
        name = data["names"][index]
        limit = data["power_limits_w"][index]
        power = f"{load.power_w(limit):.0f}W / {limit:>4.0f}W"
        used = f"{load.used_mib(data['memory_mib']):>7}MiB / {data['memory_mib']:>6}MiB"
        bus = f"00000000:{index + 1:02X}:00.0"
        state = f"  0%   {load.temperature_c}C    {load.state}"
        rows += [
            _row(f"{index:>3}  {name[:30]:<31}{'On':>3}", f"{bus}   Off", "N/A"),
            _row(f"{state:<20}{power:>19}", used, f"{load.use_percent}%      Default"),
            _row("", "", "N/A"),
            edge,
        ]
    rows += [
        "",
        "+" + "-" * 89 + "+",
        f"| {'Processes:':<87} |",
        f"| {' GPU   GI   CI        PID   Type   Process name':<70}{'GPU Memory':>17} |",
        f"|{'=' * 89}|",
        f"| {' No running processes found':<87} |",
        "+" + "-" * 89 + "+",
    ]
    return "\n".join(rows) + "\n"


def main(arguments: list[str]) -> int:
    """Run with these arguments; the exit status."""
    text = Path(__file__).with_name(".gpus.json").read_text(encoding="utf-8")
    data: _Data = json.loads(text)
    options: dict[str, str] = {}
    words = list(arguments)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name in ("-L", "--list-gpus", "-h", "--help"):
            options[name] = ""
        elif name in ("--query-gpu", "--format", "-i", "--id"):
            options[name] = value if equals else words.pop(0) if words else ""
        else:
            sys.stdout.write(
                f"Invalid combination of input arguments. Unknown option: {name}\n"
                "Please run 'nvidia-smi -h' for help.\n\n"
            )
            return _INVALID_ARGUMENT
    return _answer(data, options)


def _answer(data: _Data, options: dict[str, str]) -> int:
    if "-h" in options or "--help" in options:
        sys.stdout.write("nvidia-smi (simulated): [-L] [-i N] [--query-gpu=FIELDS --format=csv]\n")
        return 0
    shown = list(range(len(data["names"])))
    if not shown:
        sys.stdout.write("No devices were found\n")
        return _NO_DEVICES
    chosen = options.get("-i", options.get("--id"))
    if chosen is not None:
        if not chosen.isdigit() or int(chosen) >= len(data["names"]):
            sys.stdout.write("No devices were found\n")
            return _NO_DEVICES
        index = int(chosen)
        shown = [index]
    if "-L" in options or "--list-gpus" in options:
        for index in shown:
            sys.stdout.write(f"GPU {index}: {data['names'][index]} (UUID: {_uuid(index)})\n")
        return 0
    if "--query-gpu" in options:
        return _query(data, shown, options["--query-gpu"], options.get("--format", ""))
    sys.stdout.write(_table(data, shown))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
