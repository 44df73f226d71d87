"""A job file is read in Python as by `clore run`; the folder's own file may be a stranger's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from clore_ai.exceptions import InvalidInputError
from clore_ai.jobs import job_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder's own job file; it does not exist yet."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / job_file.NAME


def test_the_folder_s_own_or_a_named_file(file: Path) -> None:
    """Without a file there is nothing to read; a named file must exist."""
    assert job_file.read() is None
    with pytest.raises(InvalidInputError, match="there is no such file"):
        job_file.read(file)
    file.write_text('command = "make"\ngpu = "RTX 4090"\n')
    assert job_file.read() == job_file.read(file) == {"command": "make", "gpu": "RTX 4090"}
    assert job_file.command(file, "make") == ("make",)
    with pytest.raises(InvalidInputError, match="a string or a list of strings"):
        job_file.command(file, ["make", 1])


def test_a_stranger_s_file_can_not_block_or_lead_outside(file: Path, tmp_path: Path) -> None:
    """A FIFO, a link out of the folder and a huge file are refused; a named link is followed."""
    os.mkfifo(file)
    with pytest.raises(InvalidInputError, match="not a regular file"):
        job_file.read()
    file.unlink()
    file.symlink_to("/etc/hostname")
    with pytest.raises(InvalidInputError, match="a link out of this folder"):
        job_file.read()
    file.unlink()
    file.write_text("#" * 20_000)
    with pytest.raises(InvalidInputError, match="over 16 kB"):
        job_file.read()
    (tmp_path / "linked").symlink_to(file)
    file.write_text("keep = true\n")
    assert job_file.read(tmp_path / "linked") == {"keep": True}
