"""Which files of a folder are uploaded: with real git and repositories made by a stranger."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import struct
import subprocess
from typing import TYPE_CHECKING, Callable

import pytest

from clore_ai.exceptions import InvalidInputError
from clore_ai.jobs.upload import git
from clore_ai.jobs.upload.selection import below, files

if TYPE_CHECKING:
    from pathlib import Path

_EMPTY_BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working folder."""
    made = tmp_path / "w"
    made.mkdir()
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside it, with files that must stay private."""
    made = tmp_path / "outside"
    made.mkdir()
    (made / "id_rsa").write_text("secret")
    return made


@pytest.fixture(params=["git", "no git"])
def with_or_without(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Git is installed or not; the rules are the same."""
    if request.param == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    return str(request.param)


def tree(place: Path, *names: str, **texts: str) -> None:
    for name, text in (*((name, "x") for name in names), *texts.items()):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def a_git(place: Path, *words: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "-C", str(place), *words], check=True, capture_output=True)


def armed(repository: Path, mark: Path) -> None:
    """Make its configuration name programs for git to run."""
    (repository / "trap").write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    (repository / "trap").chmod(0o700)
    trap = repository / "trap"
    with (repository / "config").open("a") as config:
        config.write(
            f"[core]\n\tfsmonitor = {trap}\n\thooksPath = {repository}\n\tpager = {trap}\n"
            f'[filter "x"]\n\tclean = {trap}\n\tprocess = {trap}\n\trequired = true\n'
        )


def embedded(place: Path, mark: Path) -> None:
    """A repository as the output of an earlier job."""
    a_git(place / "out", "init", "-q")
    armed(place / "out/.git", mark)


def included(place: Path, mark: Path) -> None:
    """The same, with the configuration in another file."""
    a_git(place / "out", "init", "-q")
    a_git(place / "elsewhere", "init", "-q", "--bare")
    armed(place / "elsewhere", mark)
    with (place / "out/.git/config").open("a") as config:
        config.write(f"[include]\n\tpath = {place / 'elsewhere/config'}\n")


def moved(place: Path, mark: Path) -> None:
    """`.git` is a file that names the repository."""
    a_git(place / "out/hidden", "init", "-q", "--bare")
    a_git(place / "out/hidden", "config", "core.bare", "false")
    a_git(place / "out/hidden", "config", "core.worktree", str(place / "out"))
    armed(place / "out/hidden", mark)
    (place / "out/.git").write_text("gitdir: hidden\n")


def bare(place: Path, mark: Path) -> None:
    """The output looks like a repository itself."""
    a_git(place / "out", "init", "-q", "--bare")
    a_git(place / "out", "config", "core.bare", "false")
    a_git(place / "out", "config", "core.worktree", str(place))
    armed(place / "out", mark)


@pytest.mark.parametrize("trap", [embedded, included, moved, bare])
@pytest.mark.parametrize("top", ["a repository", "none"])
def test_git_runs_no_program_that_came_from_a_machine(
    place: Path, tmp_path: Path, trap: Callable[[Path, Path], None], top: str
) -> None:
    """The repository is listed from above, from inside, or as an output."""
    if top == "a repository":
        a_git(place, "init", "-q")
    mark = tmp_path / "ran"
    trap(place, mark)
    tree(place, "train.py", "out/result", **{"out/.gitattributes": "* filter=x\n"})
    assert {b"train.py", b"out/result"} <= set(files(place))
    assert b"result" in files(place / "out")
    assert b"train.py" in files(place, ["out"])
    assert b"out/result" in below(place, ["out"])
    assert not mark.exists()


def test_outputs_are_not_read(place: Path) -> None:
    """Git does not even open files in them, whatever their names."""
    for name in ("out", "o[a-z] *", "#o", "!o", "deep/o\\"):
        tree(place, f"{name}/x", "deep/kept", "ob/kept")
        os.mkfifo(place / name / ".gitignore")  # git would wait for a writer
        assert b"deep/kept" in files(place, [name])
        assert not any(p.startswith(os.fsencode(name) + b"/") for p in files(place, [name]))
        shutil.rmtree(place / name)
    assert files(place, ["ob/kept", "no/such"]) == [b"deep/kept"]


def test_no_link_is_followed(place: Path, outside: Path) -> None:
    """A link is uploaded as a link: an output, its folder, or a path of the index behind one."""
    (place / "out").symlink_to(outside)
    tree(place, "real/x")
    (place / "real/in").symlink_to(outside)
    assert below(place, ["out", "out/id_rsa", "real"]) == [b"out", b"real/in", b"real/x"]
    a_git(place, "init", "-q")
    entry = f"100644,{_EMPTY_BLOB},out/id_rsa"
    (place / "out").unlink()
    a_git(place, "update-index", "--add", "--cacheinfo", entry)
    (place / "out").symlink_to(outside)
    assert files(place) == [b"out", b"real/in", b"real/x"]


def test_an_index_cannot_name_files_outside(place: Path, outside: Path) -> None:
    """A stranger may have written the names in an index."""
    a_git(place, "init", "-q")
    tree(place, "x", ".ssh/id")
    names = ["../outside/id_rsa", ".//x", ".ssh/id", str(outside / "id_rsa"), "x"]
    data = struct.pack("!4sII", b"DIRC", 2, len(names))
    for name in sorted(map(os.fsencode, names)):
        entry = struct.pack("!10I20sH", *[0] * 6, 0o100644, 0, 0, 0, b"\1" * 20, len(name)) + name
        data += entry + b"\0" * (8 - len(entry) % 8)
    (place / ".git/index").write_bytes(data + hashlib.sha1(data).digest())
    assert files(place) == [b"x"]


def test_private_files_are_never_uploaded(
    place: Path, with_or_without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay here at any depth, in any spelling, tracked or not; all others are uploaded."""
    private = [
        ".ssh/id", "a/.SSH/config", ".aws/credentials", "x/y/.netrc", ".gnupg/x", ".kube/config",
        ".config/gh/hosts.yml", "a/.config/gcloud/x", ".docker/config.json", ".git-credentials",
        ".pypirc", ".clore/config.json", ".cache/huggingface/token", "b/.git/config", "state/x",
        ".git/HEAD",
    ]  # fmt: skip
    odd = ["#x", ";y", "-z", " s ", "n\nl", "é", ".github/w", ".config/app", ".docker/x", "ssh"]
    tree(place, *private, *odd)
    (place / os.fsdecode(b"\xff")).touch()
    (place / "link").symlink_to("/nowhere")
    (place.parent / "state").symlink_to(place / "state")
    monkeypatch.setenv("CLORE_HOME", str(place.parent / "state"))  # another name of it
    os.mkfifo(place / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(place / "socket"))
        found = files(place)
    assert found == sorted([*map(os.fsencode, odd), b"\xff", b"link"])
    assert b".ssh/id" not in below(place, [".ssh", "a", "b"])
    assert files(place / ".config") == [b"app"]  # the file's own name counts
    if with_or_without == "git":
        shutil.rmtree(place / ".git")
        a_git(place, "init", "-q")
        a_git(place, "-c", "core.safecrlf=false", "add", "-f", ".ssh/id", "state/x")
        assert files(place) == found


def test_reproducible_files_are_not_uploaded(place: Path, with_or_without: str) -> None:
    """This is the default; a `.cloreignore` or git's index may override it."""
    tree(place, "a.py", ".venv/x", "v/venv/y", "node_modules/m/.gitignore", "__pycache__/a.pyc",
         "b.pyc", ".ipynb_checkpoints/n", "p/.mypy_cache/x")  # fmt: skip
    assert files(place) == [b"a.py"]
    if with_or_without == "git":
        tree(place, **{".cloreignore": "!.venv\n"})
        assert files(place) == [b".cloreignore", b".venv/x", b"a.py"]
        a_git(place, "init", "-q")
        a_git(place, "add", "-f", "v/venv/y")
        assert files(place) == [b".cloreignore", b".venv/x", b"a.py", b"v/venv/y"]


def test_a_cloreignore_counts_wherever_it_is(place: Path) -> None:
    """It counts even if git ignores it, and in nested repositories at any depth."""
    a_git(place / "lib", "init", "-q")
    a_git(place / "lib/sub", "init", "-q")
    tree(place, "a", "lib/b", "lib/big", "lib/sub/c", "lib/sub/big", "lib/t", "secret",
         **{".gitignore": ".cloreignore\n", ".cloreignore": "/secret\nbig\n",
            "lib/.gitignore": "t\n"})  # fmt: skip
    assert files(place) == [b".gitignore", b"a", b"lib/.gitignore", b"lib/b", b"lib/sub/c"]


def test_an_unreadable_ignore_file_is_an_error(place: Path, tmp_path: Path) -> None:
    """Git would go on without it, and the ignored files would be uploaded."""
    (tmp_path / "shared").write_text("secret\n")
    tree(place, "secret")
    (place / ".cloreignore").symlink_to(tmp_path / "shared")
    with pytest.raises(InvalidInputError, match=r"can't read \.cloreignore.*Make it a readable"):
        files(place)


def test_a_hanging_git_times_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the next step."""
    monkeypatch.setattr(git, "WITHIN_S", 0.3)
    os.mkfifo(place / ".gitignore")
    with pytest.raises(InvalidInputError, match=r"did not list .* smaller working folder"):
        files(place)


def test_a_broken_repository_is_no_obstacle(place: Path) -> None:
    """An index that git cannot read is not used; ignore files still count."""
    a_git(place, "init", "-q")
    tree(place, "a", "b", **{".gitignore": "b\n"})
    a_git(place, "add", "-f", "b")
    assert files(place) == [b".gitignore", b"a", b"b"]
    with (place / ".git/config").open("a") as config:
        config.write("[extensions]\n\tnoSuch = true\n[core]\n\trepositoryformatversion = 1\n")
    assert files(place) == [b".gitignore", b"a", b"b"]
    (place / ".git/index").write_bytes(b"DIRC")
    assert files(place) == [b".gitignore", b"a"]


def test_worktrees_and_split_indexes_are_read(place: Path, tmp_path: Path) -> None:
    """Files that they track are uploaded, and `info/exclude` counts."""
    main = tmp_path / "main"
    user = ("-c", "user.name=a", "-c", "user.email=a@b")
    a_git(main, "init", "-q")
    a_git(main, *user, "commit", "-q", "--allow-empty", "-m", "1")
    shutil.rmtree(place)
    a_git(main, "worktree", "add", "-q", str(place))
    (main / ".git/info/exclude").write_text("no*\n")
    tree(place, "now", "not", "no/x", "yes")
    a_git(place, "add", "-f", "now")
    a_git(place, "update-index", "--split-index")
    with (main / ".git/config").open("a") as config:
        config.write("[core]\n\tfsmonitor = false\n[bad\n")  # the file is not read
    assert files(place) == [b"now", b"yes"]
