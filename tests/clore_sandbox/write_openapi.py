"""Writes docs/openapi.json: `python -m tests.clore_sandbox.write_openapi`."""

from __future__ import annotations

import json
from pathlib import Path

from clore_sandbox.openapi import document

PAGE = Path(__file__).parents[2] / "docs" / "openapi.json"


def written() -> str:
    """The document as it is in the file."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(written(), "utf-8")
