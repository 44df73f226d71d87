"""004, Python SDK reference: every example that is a program, in both dialects.

The SDK keeps the service's pace, so the live dialect has its limits, at ten times the speed. A
block that does not compile is a signature (`gpu: str | None = None` inside a call) or a sketch of a
class (`@property gpu_model -> str`).
"""

from __future__ import annotations

import re

import pytest

from tests.examples_of_documents.blocks import Block, of

PYTHON = of("004", "python")
PROGRAMS = [b for b in PYTHON if b.runs]
#: Imports and variables that the reference assumes: its text introduces them in other blocks.
PRELUDE = (
    "from __future__ import annotations\n"
    "import asyncio\n"
    "from typing import *\n"
    "from pydantic import BaseModel\n"
    "import clore_ai\n"
    "from clore_ai import *\n"
    "client = CloreAI()\n"
)
_ASYNC = re.compile(r"^(?:\w+ = )?await ", re.MULTILINE)


@pytest.fixture
def world(request):
    """The market of a dialect."""
    return request.getfixturevalue("paced" if request.param == "live" else "reference")


def program(block: Block, world) -> str:
    text = block.at(world.sandbox.base_url, world.sandbox.api_key)
    if not _ASYNC.search(text):
        return PRELUDE + text
    # `await` outside a function: the block before it is inside `async with`.
    body = "\n".join(f"        {line}" for line in text.splitlines())
    main = "async def main():\n    async with AsyncCloreAI() as client:\n"
    return f"{PRELUDE}{main}{body}\nasyncio.run(main())\n"


def test_a_block_that_is_no_program_is_a_signature(paced):
    """So an example that no longer compiles is not silently skipped."""
    assert len(PROGRAMS) >= 25
    for block in PYTHON:
        if not block.runs:
            assert re.search(
                r"^\s+\w+: [\w\[\], |\"-]+( = \w+)?,?|\w\(\w+: |@property", block.text, re.MULTILINE
            )


def cases() -> list[object]:
    """Each program in both dialects; in the suite, those that rent nothing in the live one only."""
    found = []
    for dialect in ("live", "reference"):
        for block in PROGRAMS:
            suite = dialect == "live" or "create_order" in block.text
            marks = () if suite else pytest.mark.exhaustive
            found.append(pytest.param(dialect, block, id=f"{dialect}-{block}", marks=marks))
    return found


@pytest.mark.parametrize(("world", "block"), cases(), indirect=["world"])
def test_python(world, block):
    """It completes, does what its comments say, and makes no order twice."""
    said = world.python(program(block, world))
    created = len(world.acted("create_order"))
    assert created == len(
        re.findall(
            r"= (?:await )?client\.create_order\(server_id=123|"
            r"create_order\(\s*server_id=123",
            block.text,
        )
    )
    if 'print(f"Order {order.id} created' in block.text:
        assert re.search(r"Order \d+ created", said)
    if "server_id=999999" in block.text:
        assert "server-dont-exist" in said
