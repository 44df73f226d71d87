"""An honest machine with odd files: what must be let through, unchanged and quickly."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Callable

import pytest
from waiting import until

from hostile import busybox

if TYPE_CHECKING:
    from pathlib import Path

    from clients import Renting

    from hostile import Machine
    from tests.cli.driver import Renter

    from .stage import Stage

ODD_NAMES = (
    b"a b", b"#x", b";x", b"-rf", b"--", b"-", b"new\nline", b"tab\there", b"\xff\xfe", b"*",
    b"?", b"[a]", b"$HOME", b"`x`", b"'", b'"', b"\\", b"a\\nb", b"~", b" ", b"end ", b".hidden",
    "é".encode(),
    b"...", b"..x", b"x..", b"n" * 255, b".github/x", b"git", b"x.git/y", b"%s", b"a:b",
    b"./d/./-x",
)  # fmt: skip


IMAGES = ("bare", "busybox", "a home with a space", "rsync")
TWO_IMAGES = pytest.mark.parametrize(
    "image",
    [*IMAGES[:2], *(pytest.param(each, marks=pytest.mark.exhaustive) for each in IMAGES[2:])],
    indirect=True,
)


@pytest.fixture(params=[*IMAGES[:3], pytest.param("rsync", marks=pytest.mark.exhaustive)])
def image(
    request: pytest.FixtureRequest, build: Callable[..., Machine], bare: Path, full: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Machine:  # fmt: skip
    """Images of all kinds."""
    if request.param == "busybox":
        if shutil.which("busybox") is None:
            pytest.skip("no busybox here: apt-get install busybox-static")
        return build(busybox(tmp_path_factory.mktemp("busybox") / "bin"))
    if request.param == "a home with a space":
        return build(bare, home="my 'home' $HOME")
    return build(full if request.param == "rsync" else bare)


def names_below(folder: Path) -> set[bytes]:
    return {os.fsencode(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def test_odd_names_arrive_and_return(stage: Stage, renter: Renter, image: Machine) -> None:
    """Every name a file can have arrives there and comes back, with its own content."""
    order = renter.rent("--image", image.image)
    names = [os.path.normpath(name) for name in ODD_NAMES]
    for name in names:
        path = stage.folder / "sent" / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name)
    stage.note()
    stage.run(order, "--", "mkdir -p results; cp -R sent results")
    assert names_below(stage.results / "sent") == set(names)
    for name in names:
        assert (stage.results / "sent" / os.fsdecode(name)).read_bytes() == name
    stage.check_outside()


@TWO_IMAGES
def test_attributes_of_files_are_kept(stage: Stage, renter: Renter, image: Machine) -> None:
    """Times, executable bits, empty files and folders, links that stay inside.

    Files that share their content there are separate files here.
    """
    order = renter.rent("--image", image.image)
    script = (
        "mkdir -p results/empty/deep results/d; cd results; : > nothing; echo 1 > d/one; "
        "ln d/one twin; ln -s d/one link; ln -s . d/self; ln -s ../twin d/up; ln -s no dangling; "
        "echo 2 > program; chmod 755 program; chmod 600 d/one; touch -t 200102030405.06 d/one"
    )
    stage.run(order, "--", script, TZ="UTC")
    here = stage.results
    assert (here / "empty" / "deep").is_dir()
    assert (here / "nothing").read_bytes() == b""
    assert (here / "d" / "one").read_text() == (here / "twin").read_text() == "1\n"
    assert (here / "twin").stat().st_nlink == 1
    assert str((here / "link").readlink()) == "d/one"
    assert str((here / "d" / "self").readlink()) == "."
    assert (here / "d" / "up").read_text() == "1\n"
    assert (here / "program").stat().st_mode & 0o777 == 0o755
    assert (here / "d" / "one").stat().st_mode & 0o777 == 0o600
    there = image.work / "results" / "d" / "one"
    assert int((here / "d" / "one").stat().st_mtime) == int(there.stat().st_mtime)
    stage.check_outside()
    stage.check_output()


def test_a_changed_file_of_equal_size_and_second_is_fetched(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """A change within a second that keeps the size is fetched at the end."""
    script = (
        "mkdir -p results; printf 1 > results/x; touch -d @1700000000.1 results/x; "
        "until [ -e go ]; do sleep 0.05; done; "
        "printf 2 > results/x; touch -d @1700000000.9 results/x"
    )
    process = stage.began(order, "--fetch-every", "0.1", "--", script)
    until((stage.results / "x").exists, "the first word", 30)
    (machine.work / "go").touch()
    assert process.wait(60) == 0
    process.communicate()
    assert (stage.results / "x").read_text() == "2"


def test_a_file_that_grows_during_a_fetch(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """It is fetched as it was at some moment, and completely at the end; no fetch fails."""
    script = (
        "mkdir -p results; i=0; until [ -e go ]; do i=$((i+1)); "
        "head -c 300000 /dev/zero >> results/log; [ $i -lt 600 ] || exit 9; sleep 0.02; done; "
        "wc -c < results/log"
    )
    process = stage.began(order, "--fetch-every", "0.1", "--", script)
    until((stage.results / "log").exists, "the first fetch", 30)
    (machine.work / "go").touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert (stage.results / "log").stat().st_size == int(out)
    stage.check_outside()


@TWO_IMAGES
def test_a_single_file_and_a_missing_output(stage: Stage, renter: Renter, image: Machine) -> None:
    """A single file is fetched as such; a missing output is reported, and the exit code kept."""
    order = renter.rent("--image", image.image)
    words = ("run", "--order", order, "--folder", stage.folder)
    script = "echo 1 > 'one file'; mkdir -p a/b; echo 2 > a/b/-two; exit 3"
    outputs = ("one file", "a/b/-two", "never/made")
    given = [word for each in outputs for word in ("--output", each)]
    done = renter(*words, *given, "--", script, fails=3)
    assert (stage.folder / "one file").read_text() == "1\n"
    assert (stage.folder / "a" / "b" / "-two").read_text() == "2\n"
    assert "never/made" in done.err
    assert not (stage.folder / "never").exists()


def test_unchanged_files_are_not_fetched_again(
    stage: Stage, machine: Machine, rental: Renting
) -> None:
    """With 1,000 files already here, the second fetch takes a few seconds and no data."""
    rental.exec("mkdir -p many; cd many; seq -w 1000 | split -l 1 -a 4 -")
    rental.get("many", stage.results)
    assert len(list(stage.results.iterdir())) == 1_001
    kept = (stage.results / "xaaaa").stat()
    begun = time.monotonic()
    rental.get("many", stage.results)
    took = time.monotonic() - begun
    assert took < 5, f"{took:.1f} s"
    again = (stage.results / "xaaaa").stat()
    assert (again.st_ino, again.st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
    rental.exec("echo more > many/xaaab")
    rental.get("many", stage.results)
    assert (stage.results / "xaaab").read_text() == "more\n"


def test_get_fetches_files_of_the_machine(stage: Stage, machine: Machine, rental: Renting) -> None:
    """A file to a name, a folder into a folder, odd names; missing parent folders are made."""
    rental.exec("mkdir -p 'a b/-c'; printf 1 > 'a b/-c/#x'; printf 2 > 'a b/new\nline'")
    rental.get("a b", stage.base / "got" / "deep")
    assert (stage.base / "got" / "deep" / "-c" / "#x").read_text() == "1"
    assert (stage.base / "got" / "deep" / "new\nline").read_text() == "2"
    rental.get("a b/-c/#x", stage.base / "got" / "one")
    assert (stage.base / "got" / "one").read_text() == "1"
    rental.get(f"{machine.home}/a b/-c/", stage.base / "got" / "absolute")
    assert (stage.base / "got" / "absolute" / "#x").read_text() == "1"
