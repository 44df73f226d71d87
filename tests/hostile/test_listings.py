"""A listing that lies: `find` and `stat` there belong to the attacker, and so do the names."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest
from archives import member

from clore_ai.exceptions import CloreAPIError

if TYPE_CHECKING:
    from hostile import Machine

    from .stage import Stage

NAMES = [
    "train.py", "aaaaaaaXtrain.py", "../victim/secret", "a/../../victim/secret",
    "aaaaaaa/../train.py", "results/../train.py", "results/../../victim/secret", "resultsX/new",
    "results", "results/", "results//new", "results/./new", "/etc/clore-test", "./../x", "..",
    ".", "", "results/a\nb/../../../train.py", "results/.git/config", "-rf", "w/../../x",
]  # fmt: skip


def lies(machine: Machine, names: list[str], mode: str = "81a4", size: int = 5) -> None:
    """Let `find` list these besides the real files, and let tar send them all."""
    line = f"printf '%s {mode} {size} 1700000000 2023-11-14 22:13:20.5 +0000|%s\\n' \"$mark\""
    lines = "".join(f"{line} {shlex.quote(name)}\n" for name in names)
    # The mark is the start of the format for stat.
    machine.program(
        "find",
        'for a in "$@"; do case $a in clore-*) mark=${a%% *} ;; esac; done\n'
        f'{lines}exec "$REAL" "$@"',
    )
    machine.archive(b"".join(member(name, b"evil\n") for name in names if name))


@pytest.mark.parametrize("mode", ["81a4", "41ed", "a1ff", "8fff"])
def test_a_listing_cannot_name_files_outside_the_outputs(
    stage: Stage, machine: Machine, order: int, mode: str
) -> None:
    """Files, folders, links, odd modes: whatever the name, only the output changes."""
    lies(machine, NAMES, mode)
    done = stage.began(order)
    out, err = done.communicate(timeout=60)
    stage.renter.check(out + err)
    assert done.returncode in (0, 1), err
    stage.check_outside()
    stage.check_output()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_get_has_the_same_checks(stage: Stage, machine: Machine, rental: Any) -> None:
    rental.exec("mkdir -p results; echo 1 > results/new")
    lies(machine, NAMES)
    try:
        rental.get("results", stage.results)
    except CloreAPIError as exc:
        assert "\x1b" not in str(exc)  # noqa: PT017 - any clean end will do
    stage.check_outside()
    stage.check_output()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_incomplete_listing_is_ignored(stage: Stage, machine: Machine, rental: Any) -> None:
    """A machine short of memory kills `find`: unlisted files do not count as missing."""
    rental.exec("mkdir -p results; echo 1 > results/new")
    machine.program("find", 'a=$1; b=$2; shift 2; "$REAL" $a $b -maxdepth 0 "$@"; kill -9 $$')
    with pytest.raises(CloreAPIError):
        rental.get("results", stage.results)
