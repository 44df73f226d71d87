"""Archives that no archiver writes: the machine's tar sends whatever its owner likes."""

from __future__ import annotations

import tarfile
import time
from typing import TYPE_CHECKING, Any, Callable

import pytest
from archives import folder, gnu_name, hard_link, member, pax, raw_header, symlink

from clore_ai.exceptions import CloreAPIError

from .stage import resident_kb

if TYPE_CHECKING:
    from pathlib import Path

    from hostile import Machine

    from .stage import Stage

PLACES: dict[str, Callable[[Path], bytes]] = {
    "beside the outputs": lambda _: member("train.py") + member("./train.py"),
    "a hook": lambda _: member(".git/hooks/post-checkout", mode=0o755) + member("./.git/config"),
    "one that direnv runs": lambda _: member(".envrc") + member("w/.envrc"),
    "above": lambda _: member("../x") + member("../.ssh/authorized_keys"),
    "absolute": lambda base: member(f"{base}/victim/secret") + member(f"{base}/victim/x"),
    "out of the output": lambda _: member("results/../train.py") + member("results/../../x"),
    "by a dot more": lambda _: member("./results/./../train.py") + member("results/.././../x"),
    "with more slashes": lambda base: (
        member(f"//{base}/victim/x") + member("results//..//train.py")
    ),
    "a name that begins as the output": lambda _: (
        member("results2") + member("results/../results2")
    ),
    "the output's own place": lambda _: symlink("results", "../victim") + member("results/secret"),
    "a file for the output": lambda base: hard_link("results", f"{base}/victim/secret"),
    "the folder itself": lambda _: folder(".", 0o777) + folder("results/..", 0o777),
    "the folder above": lambda _: folder("..", 0o777) + symlink("../w", "/"),
}
LINKS: dict[str, Callable[[Path], bytes]] = {
    "outside": lambda _: symlink("results/l", "../../victim"),
    "absolute": lambda base: symlink("results/l", f"{base}/victim"),
    "absolute, to inside": lambda base: symlink("results/l", f"{base}/victim/../w/train.py"),
    "through it": lambda _: symlink("results/l", "../../victim") + member("results/l/secret"),
    "through an absolute one": lambda base: symlink("results/l", f"{base}/victim")
    + member("results/l/x"),
    "through one to a file": lambda _: symlink("results/l", "../train.py") + member("results/l"),
    "through one to what comes": lambda _: symlink("results/l", "../x") + member("results/l"),
    "a chain": lambda _: folder("results/d") + symlink("results/d/up", "..")
    + symlink("results/a", "d/up/../x") + member("results/a"),
    "a chain of folders": lambda _: symlink("results/a", ".") + symlink("results/b", "a/..")
    + symlink("results/c", "a/b/../victim") + member("results/b/train.py") + member("results/c/x"),
    "a chain, last first": lambda _: symlink("results/b", "a/..") + folder("results/a")
    + symlink("results/a", "d/d") + folder("results/d/d") + member("results/b/../../train.py"),
    "a folder that becomes one": lambda _: folder("results/d") + member("results/d/x")
    + symlink("results/d", "../../victim") + member("results/d/secret"),
    "a file that becomes one": lambda _: member("results/d") + symlink("results/d", "../train.py")
    + member("results/d"),
    "to nowhere, and empty": lambda _: symlink("results/l", "") + symlink("results/m", "/dev/null"),
    "a hard link": lambda base: hard_link("results/h", f"{base}/victim/secret")
    + member("results/h"),
    "a hard link above": lambda _: hard_link("results/h", "../victim/secret") + member("results/h"),
    "a hard link beside": lambda _: hard_link("results/h", "train.py") + member("results/h"),
    "a hard link through a link": lambda _: symlink("results/l", "../../victim")
    + hard_link("results/h", "results/l/secret") + member("results/h"),
    "a hard link to a link": lambda _: symlink("results/l", "../train.py")
    + hard_link("results/h", "results/l") + member("results/h"),
}  # fmt: skip
KINDS: dict[str, Callable[[Path], bytes]] = {
    "a device": lambda _: member("results/z", kind=tarfile.CHRTYPE, mode=0o666, devmajor=1,
                                 devminor=5),
    "a disk": lambda _: member("results/z", kind=tarfile.BLKTYPE, mode=0o666, devmajor=8),
    "a FIFO": lambda _: member("results/z", kind=tarfile.FIFOTYPE),
    "unknown": lambda _: member("results/z", kind=b"Z") + member("results/y", kind=b"V")
    + member("results/x", kind=b"M"),
    "setuid": lambda _: member("results/z", mode=0o4755) + member("results/y", mode=0o2755),
    "sticky, and a folder of setgid": lambda _: folder("results/z", 0o3777)
    + member("results/z/y", mode=0o1644),
    "open to all": lambda _: member("results/z", mode=0o666) + folder("results/d", 0o777),
    "closed to me": lambda _: folder("results/d", 0o000) + member("results/d/x", mode=0o000),
    "somebody's": lambda _: member("results/z", uid=12345, gid=12345, uname="daemon"),
    "a repository": lambda _: member("results/.git/config") + member("results/.git/hooks/x"),
    "a repository of odd case": lambda _: member("results/.GIT/config") + member("results/.Git/x"),
    "a repository by short name": lambda _: member("results/git~1/x") + member("results/GIT~1"),
    "a repository with a tail": lambda _: member("results/.git./x") + member("results/.git /x"),
    "a repository deep in there": lambda _: member("results/a/b/.git/config"),
    "a file that names a repository": lambda _: member("results/.git", b"gitdir: /tmp/x\n"),
    "a link that is a repository": lambda _: folder("results/g") + symlink("results/.git", "g"),
}  # fmt: skip
HEADERS: dict[str, Callable[[Path], bytes]] = {
    "PAX renames to beside": lambda _: pax(b"", path="train.py") + member("results/ok"),
    "PAX renames to above": lambda _: pax(b"", path="../x") + member("results/ok"),
    "PAX renames to absolute": lambda base: pax(b"", path=f"{base}/victim/x")
    + member("results/ok"),
    "PAX moves a link": lambda _: pax(b"", linkpath="../../victim") + symlink("results/l", "new")
    + member("results/l/x"),
    "PAX renames all": lambda _: pax(b"", everywhere=True, path="train.py") + member("results/ok"),
    "PAX renames twice": lambda _: pax(b"", path="results/a") + pax(b"", path="train.py")
    + member("results/ok"),
    "PAX after GNU": lambda _: gnu_name("results/a") + pax(b"", path="train.py")
    + member("results/ok"),
    "GNU after PAX": lambda _: pax(b"", path="results/a") + gnu_name("train.py")
    + member("results/ok"),
    "GNU renames": lambda _: gnu_name("train.py") + member("results/ok"),
    "GNU renames to above": lambda _: gnu_name("results/" + "a/" * 90 + "../" * 91 + "../x")
    + member("results/ok"),
    "GNU moves a link": lambda _: gnu_name("../../victim", link=True) + symlink("results/l", "new")
    + member("results/l/x"),
    "PAX renames a sparse one": lambda _: pax(b"", GNU__sparse__major="1", GNU__sparse__minor="0",
                                              GNU__sparse__name="train.py",
                                              GNU__sparse__realsize="6")
    + member("results/ok", b"0\n" + bytes(510)),
    "PAX of rubbish": lambda _: pax(b"7 x=\n999999 path=x\n-4 a=b\n=\n") + member("results/ok"),
    "PAX with numbers that are none": lambda _: pax(b"", size="-1", mtime="nan", uid="1e400")
    + member("results/ok"),
    "PAX with a NUL": lambda _: pax(b"", path="train.py\0results") + member("results/ok"),
    "a time that is none": lambda _: pax(b"", mtime="1e30") + member("results/ok")
    + pax(b"", mtime="-1e30") + member("results/ok2"),
    "rubbish": lambda _: b"\xff" * 5120,
    "the tail of rubbish": lambda _: member("results/ok") + b"\x80" * 1536,
    "cut in a header": lambda _: member("results/ok") + member("train.py")[:300],
    "a negative size": lambda _: _negative("results/ok") + member("train.py"),
    "deep names": lambda _: gnu_name("results/" + "d/" * 3000 + "x") + member("results/ok"),
    "a name of 5,000": lambda _: gnu_name("results/" + "n" * 5000) + member("results/ok"),
    "a name that speaks": lambda _: member("../\x1b]52;c;b3duZWQ=\x07\n\x1b[2J"),
}  # fmt: skip


def _negative(name: str) -> bytes:
    header = bytearray(raw_header(name, b"0", 0))
    header[124:136] = b"\xff" * 11 + b"\0"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


GROUPS = {"place": PLACES, "link": LINKS, "kind": KINDS, "header": HEADERS}
SOME = {
    "some places": {name: PLACES[name] for name in list(PLACES)[::3]},
    "some links": {name: LINKS[name] for name in list(LINKS)[::2]},
}


def failures(stage: Stage, machine: Machine, group: str, fetch: Callable[[], object]) -> list[str]:
    """The failures by name of archive; each archive is fetched into a fresh stage."""
    broken = []
    for name, make in {**GROUPS, **SOME}[group].items():
        stage.reset()
        machine.archive(make(stage.base))
        try:
            fetch()
            stage.check_outside()
            stage.check_output()
            assert machine.archived, "the archive was not sent"
        except AssertionError as exc:
            said, _, _ = str(exc).partition("\nassert")
            broken.append(f"{name}: {said}")
    return broken


@pytest.mark.parametrize(
    "group", ["some places", *(pytest.param(g, marks=pytest.mark.exhaustive) for g in GROUPS)]
)
def test_a_run_takes_only_its_outputs(
    stage: Stage, machine: Machine, order: int, group: str
) -> None:
    """Whatever the archive holds, nothing outside the output changes and nothing unsafe is in it.

    Nor does clore crash, or print the names unfiltered.
    """

    def fetch() -> None:
        done = stage.began(order)
        out, err = done.communicate(timeout=60)
        stage.renter.check(out + err)
        assert done.returncode in (0, 1), err
        assert "\x1b" not in err

    assert not (broken := failures(stage, machine, group, fetch)), "\n".join(broken)


@pytest.mark.parametrize(
    ("kind", "group"),
    [
        ("async", "some links"),
        ("async", "header"),
        # The gate, which has tests of its own, judges these by name, mode and goal.
        pytest.param("async", "kind", marks=pytest.mark.exhaustive),
        pytest.param("async", "link", marks=pytest.mark.exhaustive),
        *(pytest.param("sync", group, marks=pytest.mark.exhaustive) for group in GROUPS),
    ],
)
def test_get_writes_only_below_its_target(
    stage: Stage, machine: Machine, rental: Any, group: str
) -> None:
    """`rental.get` has the same checks: no archive writes outside the given folder.

    The product may rename members: the hostile ones have several names.
    """

    def fetch() -> None:
        try:
            rental.get("results", stage.results)
        except CloreAPIError as exc:
            assert "\x1b" not in str(exc)  # noqa: PT017 - any clean end will do

    rental.exec("mkdir -p results; echo 1 > results/new")
    assert not (broken := failures(stage, machine, group, fetch)), "\n".join(broken)


ENDLESS = {
    "bytes": (member("results/big", b"", size=1 << 40), "cat /dev/zero"),
    "a header of 1 GB": (raw_header("./@x", b"x", 1 << 30), "cat /dev/zero"),
    "a long name of 1 GB": (raw_header("./@x", b"L", 1 << 30), "cat /dev/zero"),
    "noise": (b"", "cat /dev/urandom"),
    "zeros": (member("results/ok"), "cat /dev/zero"),
}
MANY = "while cat many; do :; done"


@pytest.mark.parametrize(
    "name",
    [
        *("bytes", "a header of 1 GB", "zeros", "folders"),
        *(
            pytest.param(each, marks=pytest.mark.exhaustive)
            for each in ("a long name of 1 GB", "noise", "empty members", "attributes")
        ),
    ],
)
def test_an_endless_archive_is_cut_off(
    stage: Stage, machine: Machine, order: int, name: str
) -> None:
    """Count and size are limited by --max-output; a message says so, and memory does not grow."""
    if name in ENDLESS:
        data, then = ENDLESS[name]
    else:
        made = {
            "empty members": lambda n: member(f"results/{n}", b""),
            "folders": lambda n: folder(f"results/{n}"),
            "attributes": lambda n: pax(b"", **{f"X{n}": "x" * 400}),
        }[name]
        (machine.home / "many").write_bytes(b"".join(map(made, range(2000))))
        data, then = b"", MANY.replace("many", f"'{machine.home}/many'")
    machine.archive(data, then=then)
    process = stage.began(order, "--max-output", "1MB")
    most_kb, until = 0, time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        most_kb = max(most_kb, resident_kb(process.pid))
        time.sleep(0.05)
    ended = process.poll() is not None
    if not ended:
        process.kill()
    out, err = process.communicate(timeout=20)
    assert ended, "the fetch was not cut off within 60 s"
    stage.renter.check(out + err)
    assert process.returncode == 1, err
    assert "tar" in err or "output" in err
    assert most_kb < 300_000
    stage.check_outside()
    stage.check_output()
    size = sum(p.lstat().st_size for p in stage.results.rglob("*") if p.is_file())
    assert size <= 1_100_000


@pytest.mark.parametrize(
    "size",
    [
        *("1TB of nothing", "2^60"),
        *(
            pytest.param(each, marks=pytest.mark.exhaustive)
            for each in ("old 1TB of nothing", "more than is here")
        ),
    ],
)
def test_a_member_with_a_false_size(stage: Stage, machine: Machine, order: int, size: str) -> None:
    """It is refused or cut off: no file with that name appears, and the disk is not filled."""
    sparse = pax(
        b"", GNU__sparse__major="1", GNU__sparse__minor="0", GNU__sparse__name="results/big",
        GNU__sparse__realsize=str(1 << 40),
    ) + member("results/big", b"0\n" + bytes(510))  # fmt: skip
    old = bytearray(raw_header("results/big", b"S", 0))
    old[386:410] = b"00000000000\0" * 2
    old[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    old[148:156] = b" " * 8
    old[148:156] = f"{sum(old):06o}\0 ".encode()
    data = {
        "1TB of nothing": sparse,
        "old 1TB of nothing": bytes(old),
        "more than is here": member("results/big", b"x" * 1000, size=5_000_000),
        "2^60": member("results/big", b"x" * 1000, size=1 << 60),
    }[size]
    machine.archive(data, then="true")
    stage.run(order, fails=1)
    stage.check_outside()
    assert not (stage.results / "big").exists()
