"""The output of a job: logged, shown, and limited in size."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from clore_ai.jobs.output import Output

if TYPE_CHECKING:
    from pathlib import Path


def test_the_log_is_limited_in_size(tmp_path: Path) -> None:
    """Later output is still shown; one message says that it is not logged."""
    said: list[str] = []
    shown: list[bytes] = []

    async def work() -> int:
        with Output(tmp_path / "log", shown.append, said.append, most=10) as output:
            for piece in (b"12345", b"678901", b"more"):
                await output.take(piece)
            return output.size

    assert asyncio.run(work()) == 15
    assert (tmp_path / "log").read_bytes() == b"1234567890"
    assert b"".join(shown) == b"12345678901more"
    assert len(said) == 1
    assert "not kept" in said[0]
