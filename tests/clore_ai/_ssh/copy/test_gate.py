"""Which names may be fetched, and where a link may point."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clore_ai._ssh.copy.gate import refusal, starts_something, stays_inside
from clore_ai._ssh.copy.listing import Entry


def file(path: bytes, mode: int = stat.S_IFREG | 0o644) -> Entry:
    return Entry(path, mode, 1, 0)


@pytest.mark.parametrize(
    "name",
    [
        ".git", ".GIT", ".Git", ".git ", ".git.", ".git::$INDEX_ALLOCATION", "git~1", "GIT~2",
        ".g\u200cit", ".\ufeffgit", "\uff0e\uff47\uff49\uff54", ".hg", ".envrc", ".env", ".ssh",
        "authorized_keys", ".bashrc", ".vscode", ".mcp.json", "clore.toml", "sitecustomize.py",
        "x.desktop", ".netrc", "HEAD", ".gitignore", ".cloreignore",
    ],
)  # fmt: skip
def test_names_that_run_code_are_refused(name: str) -> None:
    """They are refused in any case, with characters that file systems drop, at any depth."""
    assert starts_something(name.encode())
    for path in (f"out/{name}", f"out/a/{name}/b", f"out/a/b/{name}"):
        assert refusal(file(path.encode()), path.encode(), b"out"), path


@pytest.mark.parametrize(
    "name",
    [
        "model.pth", "config.json", ".hydra", ".zarray", ".gitkeep", "git", "agit", "train.py",
        "#x", ";x", "-rf", "a b", "é", "\udcff", "events.out.tfevents.1", "env", "x.env", ".cache",
        "tokenizer.json", "a\nb",
    ],
)  # fmt: skip
def test_ordinary_output_names_are_accepted(name: str) -> None:
    path = b"out/" + os.fsencode(name)
    assert refusal(file(path), path, b"out") is None


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        (b"out/p", stat.S_IFIFO), (b"out/d", stat.S_IFBLK), (b"out/c", stat.S_IFCHR),
        (b"out/s", stat.S_IFSOCK), (b"out/x", 0), (b"out//x", stat.S_IFREG),
        (b"out/../x", stat.S_IFREG), (b"out/./x", stat.S_IFREG), (b"out/", stat.S_IFREG),
        (b"out/" + b"x" * 256, stat.S_IFREG), (b"out/" + b"x/" * 2100 + b"x", stat.S_IFREG),
        (b"out/a\0b", stat.S_IFREG),
    ],
)  # fmt: skip
def test_names_outside_the_outputs_are_refused(path: bytes, mode: int) -> None:
    assert refusal(file(path, mode), path, b"out")


NAMES = st.sampled_from([b"..", b".", b"a", b"b", b"l", b"up", b""])
GOALS = st.lists(NAMES, min_size=1, max_size=6).map(b"/".join)


@given(st.lists(st.tuples(st.sampled_from([b"", b"a/", b"a/b/"]), GOALS), max_size=4), st.data())
def test_accepted_links_never_lead_outside_together(links: list[tuple[bytes, bytes]], data) -> None:
    """However they point through one another, no path below the output resolves outside of it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "w", "out")
        inside = out.resolve()
        for place in (out, out.parent, out.parent.parent):  # the target of names outside
            (place / "a" / "b").mkdir(parents=True)
        for number, (place, goal) in enumerate(links):
            name = data.draw(st.sampled_from([b"l", b"up", b"m%d" % number]))
            path = b"out/" + place + name
            whole = Path(folder, "w", os.fsdecode(path))
            if stays_inside(path, goal, b"out") and not os.path.lexists(whole):
                whole.symlink_to(os.fsdecode(goal))
        for where, folders, names in os.walk(out):
            for name in (*folders, *names):
                try:
                    real = Path(os.path.realpath(Path(where, name), strict=True))
                except OSError:  # it has no target
                    continue
                assert real == inside or inside in real.parents, (where, name, real)


def test_a_link_in_place_of_an_output_is_refused() -> None:
    """Everything that comes after it would follow the link."""
    assert not stays_inside(b"out", b"x", b"out")
    assert not stays_inside(b"out/x", b".git/config", b"out")
    assert not stays_inside(b"out/x", b"/etc/passwd", b"out")
    assert stays_inside(b"out/a/x", b"../b", b"out")
