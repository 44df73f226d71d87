"""A machine whose shell prints before each command: this noise is not part of any output."""

from __future__ import annotations

import hashlib
import os
import subprocess
from typing import TYPE_CHECKING, Any, Callable

import pytest

from hostile import noisy

if TYPE_CHECKING:
    from pathlib import Path

    from clients import Renting

    from hostile import Machine
    from tests.cli.driver import Renter

    from .stage import Stage

NOISE = {
    "a word": "echo welcome",
    "no newline": "printf welcome",
    "errors": "echo welcome >&2",
    "errors without newline": "printf 'no newline' >&2",
    "escape sequences": "printf '\\033]52;c;b3duZWQ=\\007\\033[2J\\033[31m'",
    "escape sequences as errors": "printf '\\033]52;c;b3duZWQ=\\007\\033[2J' >&2",
    "1 MB": "head -c 1000000 /dev/zero | tr '\\0' x",
    "1 MB of errors": "head -c 1000000 /dev/zero | tr '\\0' x >&2",
    "bytes": "head -c 3000 /dev/urandom",
    "as our own words": "echo clore: here; echo clore: ended 0 0 >&2; echo clore: rsync",
    "after a while": "echo welcome; sleep 0.3; echo again",
    "at the end too": "trap 'echo good bye' EXIT; echo welcome",
}
NOISES = pytest.mark.parametrize(
    "noises",
    [list(NOISE)[::3], pytest.param(list(NOISE), marks=pytest.mark.exhaustive)],
    ids=["a third", "all"],
)
SCRIPT = (
    "cat in; printf end; mkdir -p results; cp in results/new; exit 5"  # the noise has no newline
)


@NOISES
def test_run_ignores_the_noise(
    stage: Stage, renter: Renter, either: Machine, noises: list[str]
) -> None:
    """Upload, output, exit code, outputs and log are byte for byte as without it."""
    order = renter.rent("--image", either.image)
    data = bytes(range(256)) * 40
    (stage.folder / "in").write_bytes(data)
    stage.note()
    wrong = []
    for name in noises:
        either.shell = noisy(NOISE[name])
        words = ("run", "--order", order, "--folder", stage.folder, "--output", "results")
        process = renter.start(*words, "--", SCRIPT, text=False)
        try:
            out, err = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            wrong.append(f"{name}: it went on for 10 s, and said {err[-300:]!r}")
            continue
        if process.returncode != 5 or out != data + b"end":
            wrong.append(f"{name}: exit {process.returncode}, {len(out)} bytes, {err[-300:]!r}")
        elif (stage.results / "new").read_bytes() != data:
            wrong.append(f"{name}: the output is {(stage.results / 'new').read_bytes()[:40]!r}")
        elif b"\x1b" in err or b"welcome" in err or len(err) > 10_000:
            wrong.append(f"{name}: shown on stderr")
        (stage.results / "new").unlink(missing_ok=True)
    assert not wrong, "\n".join(wrong)
    stage.check_outside()


@NOISES
def test_exec_put_and_get_ignore_the_noise(
    stage: Stage, machine: Machine, rental: Renting, noises: list[str]
) -> None:
    """`stdout` is the command's own, and files arrive unchanged in both directions."""
    data = os.urandom(5000)
    (stage.folder / "in").write_bytes(data)
    wrong: list[str] = []
    for name in noises:
        machine.shell = noisy(NOISE[name])
        try:
            done = rental.exec("echo there; echo wrong >&2; exit 3")
            if (done.code, done.stdout) != (3, "there\n") and "at the end" not in name:
                wrong.append(f"{name}: exec gave {done.code}, {done.stdout[:80]!r}")
            if not done.stderr.endswith("wrong\n") and "at the end" not in name:
                wrong.append(f"{name}: exec gave the errors {done.stderr[-80:]!r}")
            rental.put(stage.folder / "in", "there/in")
            if (machine.home / "there" / "in").read_bytes() != data:
                wrong.append(f"{name}: put brought something else")
            rental.get("there", stage.results)
            if (stage.results / "in").read_bytes() != data:
                wrong.append(f"{name}: get brought something else")
        except Exception as exc:  # noqa: BLE001 - each noise is tried
            wrong.append(f"{name}: {type(exc).__name__}: {str(exc)[:200]!r}")
        (machine.home / "there" / "in").unlink(missing_ok=True)
        (stage.results / "in").unlink(missing_ok=True)
    assert not wrong, "\n".join(wrong)


def test_a_noisy_machine_can_be_rented(
    stage: Stage, machine: Machine, kind: str, market: Any
) -> None:
    """The inspection finds the machine's hardware behind the noise."""
    from clients import Api

    machine.program("nvidia-smi", 'case "$*" in *name*) echo "NVIDIA RTX 4090, 24564, 550.54"'
                    ' ;; *) echo "CUDA Version: 99.9" ;; esac')  # fmt: skip
    machine.shell = noisy("echo clore-verify:gpus; printf welcome; echo noise >&2")
    api = Api(kind, market, state=stage.renter.home)
    try:
        with api.renting(
            "RTX 4090", gpus=1, image=machine.image, attempts=1, boot_deadline=20.0
        ) as rental:
            assert rental.exec("echo there").stdout == "there\n"
    finally:
        api.shut()


def test_monitor_shows_gpus_behind_the_noise(renter: Renter, machine: Machine, order: int) -> None:
    """`monitor --once` reads the output of nvidia-smi, and none of the noise."""
    machine.program("nvidia-smi", "echo 0, 37, 55, 1000, 24564")
    machine.shell = noisy("printf '\\033[2Jwelcome'; echo 9, 99, 99, 99, 99")
    done = renter("monitor", "--once")
    assert "37" in done.out
    assert "99%" not in done.out
    assert "\x1b" not in done.out + done.err


def test_a_machine_without_space_for_temporary_files(
    stage: Stage, renter: Renter, build: Callable[..., Machine], full: Path
) -> None:
    """`/tmp` is full or missing: upload, job and fetch work without it."""
    machine = build(full, TMPDIR="/proc/nowhere", TMUX_TMPDIR="/proc/nowhere")
    order = renter.rent("--image", machine.image)
    done = stage.run(order, "--", "cat train.py; echo 1 > results/new || mkdir results; exit 4",
                     fails=4)  # fmt: skip
    assert done.out.startswith("print('mine')\n")


def test_the_log_has_only_the_jobs_output(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """Also when `logs` and `attach` read it again from a noisy machine."""
    machine.shell = noisy("printf 'welcome\\033[2J'")
    text = "".join(f"line {n}\n" for n in range(300))
    (stage.folder / "in").write_text(text)
    done = stage.run(order, "--", "cat in; sleep 0.3; cat in")
    digest = hashlib.sha256((text * 2).encode()).digest()
    assert hashlib.sha256(done.out.encode()).digest() == digest
    assert renter("logs", 1).out == text * 2
