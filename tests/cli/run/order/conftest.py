"""A folder whose name has a space, and `clore run` from it on a user's order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.driver import Renter, Result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder, empty."""
    made = tmp_path / "work here"
    made.mkdir()
    return made


def run(renter: Renter, order: int, folder: Path, *words: object, **more: Any) -> Result:
    """`clore run` on this order, from that folder."""
    return renter("run", "--order", order, "--folder", folder, *words, **more)


def tree(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
