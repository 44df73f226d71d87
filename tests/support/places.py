"""The paths of the captured inventory and the documents; tests that need them skip without."""

from __future__ import annotations

import os
from pathlib import Path

_SHARED = Path(__file__).parents[2].parent / "shared"


def inventory() -> Path | None:
    """The captured marketplace body: ``CLORE_INVENTORY``, else beside the repository."""
    if os.environ.get("CLORE_INVENTORY"):
        return Path(os.environ["CLORE_INVENTORY"])
    return next(iter(sorted((_SHARED / "data").glob("*.json"))), None)


def document(number: str) -> Path | None:
    """One of the documents: from ``CLORE_DOCUMENTS``, else beside the repository."""
    folder = Path(os.environ.get("CLORE_DOCUMENTS") or _SHARED / "documents")
    return next(iter(sorted(folder.glob(f"{number}*"))), None)
