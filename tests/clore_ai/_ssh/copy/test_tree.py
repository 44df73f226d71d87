"""Files are written below one folder, and nowhere else."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from clore_ai._ssh.copy.tree import InTheWayError, Tree, is_part

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("mine")
    return tmp_path / "root"


def test_a_file_is_written_whole_with_a_harmless_mode(root: Path) -> None:
    """No set-id or sticky bit, no write permission for others; the time is kept."""
    with Tree(root) as tree:
        tree.write((b"a", b"b", b"f"), [b"one", b"two"], 0o7777, 1_000_000_005)
    file = root / "a" / "b" / "f"
    assert file.read_bytes() == b"onetwo"
    assert file.stat().st_mode & 0o7022 == 0
    assert file.stat().st_mtime_ns == 1_000_000_005
    assert [p.name for p in file.parent.iterdir()] == ["f"]


def test_an_interrupted_write_keeps_the_old_file(root: Path) -> None:
    (root / "f").write_text("before")

    def pieces():
        yield b"half"
        assert (root / "f").read_text() == "before"
        raise OSError(errno.ENOSPC, "No space")

    with Tree(root) as tree, pytest.raises(OSError, match="No space"):
        tree.write((b"f",), pieces(), 0o644, 0)
    assert [p.name for p in root.iterdir()] == ["f"]
    assert (root / "f").read_text() == "before"


def test_no_link_on_the_way_is_followed(root: Path) -> None:
    """A link of the user is an error; one below an output is replaced by the new file."""
    (root / "out").symlink_to("../outside")
    with Tree(root, [(b"out",)]) as tree:
        for act in (
            lambda: tree.write((b"out", b"kept"), [b"evil"], 0o644, 0),
            lambda: tree.link((b"out", b"x"), b"kept", 0),
            lambda: tree.folder((b"out", b"x")),
        ):
            with pytest.raises(InTheWayError):
                act()
        assert tree.state((b"out", b"kept")) is None
        with pytest.raises(InTheWayError):
            tree.reader((b"out", b"kept"))
    (root / "good").mkdir()
    (root / "good" / "deep").symlink_to("../../outside")
    with Tree(root, [(b"good",)]) as tree:
        tree.write((b"good", b"deep", b"kept"), [b"new"], 0o644, 0)
    assert not (root / "good" / "deep").is_symlink()
    assert (root.parent / "outside" / "kept").read_text() == "mine"


def test_a_link_in_place_of_a_file_is_replaced(root: Path) -> None:
    (root / "f").symlink_to("../outside/kept")
    with Tree(root) as tree:
        tree.write((b"f",), [b"new"], 0o644, 0)
    assert (root / "f").read_text() == "new"
    assert (root.parent / "outside" / "kept").read_text() == "mine"


def test_a_link_that_appears_between_two_writes_is_not_followed(root: Path) -> None:
    """This holds even if its folder was open a moment ago."""
    with Tree(root) as tree:
        tree.write((b"a", b"f"), [b"1"], 0o644, 0)
        tree.write((b"b",), [b"1"], 0o644, 0)
        (root / "a").rename(root / "moved")
        (root / "a").symlink_to("../outside")
        tree.write((b"a", b"kept"), [b"2"], 0o644, 0)
    assert (root.parent / "outside" / "kept").read_text() == "mine"


def test_a_folder_in_place_of_a_file_stays(root: Path) -> None:
    (root / "f" / "g").mkdir(parents=True)
    with Tree(root) as tree, pytest.raises(InTheWayError, match="a local folder is in its place"):
        tree.write((b"f",), [b"1"], 0o644, 0)
    assert [p.name for p in root.iterdir()] == ["f"]


def test_leftovers_of_a_killed_fetch_are_removed_after_a_day(root: Path) -> None:
    """A file that is being written is never removed."""
    part = b".clore-0123456789abcdef.part"
    assert is_part(part)
    (root / os.fsdecode(part)).write_text("being written")
    with Tree(root) as tree:
        tree.write((b"f",), [b"1"], 0o644, 0)
    assert (root / os.fsdecode(part)).exists()


@pytest.mark.parametrize(
    "names",
    [(b"..", b"outside", b"kept"), (b"a", b"..", b"..", b"outside", b"kept"), (b"..",), (b"",),
     (b"a", b""), (b".",), (b"a/../../outside/kept",), (b"a\0b",)],
)  # fmt: skip
def test_no_name_leads_outside(root: Path, names: tuple[bytes, ...]) -> None:
    """Whatever name a caller passes, no file outside is touched."""
    with Tree(root) as tree:
        for act in (
            lambda: tree.write(names, [b"evil"], 0o644, 0),
            lambda: tree.link(names, b"x", 0),
            lambda: tree.folder(names),
            lambda: os.close(tree.reader(names)),
        ):
            with pytest.raises(InTheWayError, match="leads out of the folder"):
                act()
        assert tree.state(names) is None
    assert (root.parent / "outside" / "kept").read_text() == "mine"


def test_the_number_of_folders_is_limited(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parents count too: a path of a few bytes may need a hundred folders."""
    monkeypatch.setattr("clore_ai._ssh.copy.tree.MOST_FOLDERS", 5)
    with Tree(root) as tree:
        tree.folder((b"a", b"b", b"c"))
        with pytest.raises(InTheWayError, match="too many"):
            tree.folder((b"d", b"e", b"f"))
    assert sum(path.is_dir() for path in root.rglob("*")) == 5
