"""A job is checked before a machine is rented for it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from clore_ai import jobs
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("to", "is a link"),
        ("to/x", "is a link"),
        ("nowhere", "is a link"),
        ("a/to/x/y", "is a link"),
        (".git/hooks", r"\.git is private"),
        ("a/.SSH", r"\.SSH is private"),
        (".config/gh", "gh is private"),
        (".envrc", r"act on files named \.envrc"),
        ("x/.vscode", "programs here act on"),
        ("a/HEAD", "programs here act on"),
    ],
)
def test_outputs_are_written_through_no_link(tmp_path: Path, output: str, said: str) -> None:
    """A link may come from a machine, and no file of a machine belongs in a folder of keys."""
    place = tmp_path / "w"
    (place / "a").mkdir(parents=True)
    for link, target in (("to", tmp_path), ("nowhere", tmp_path / "no"), ("a/to", place)):
        (place / link).symlink_to(target)
    with pytest.raises(InvalidInputError, match=said):
        jobs.checked(["true"], place, [output])
    assert jobs.checked(["true"], place, ["a/results", "new/x"]).outputs == ["a/results", "new/x"]


def test_a_port_to_forward_must_be_free(tmp_path: Path) -> None:
    """A local port in use is refused before a machine is rented, with another to try."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        here = taken.getsockname()[1]
        with pytest.raises(InvalidInputError, match=rf"--forward {here}: .* can't be used here"):
            jobs.checked(["true"], tmp_path, forwards=[f"{here}:6006"])
    made = jobs.checked(["true"], tmp_path, forwards=[f"{here}:6006"])
    assert made.forwards == (f"127.0.0.1:{here}:127.0.0.1:6006",)
