"""Writes and reads amounts: of data, in decimal units like those of disks; of things; shares."""

from __future__ import annotations

import re

MB = 1_000_000
_UNITS = {"b": 1, "kb": 1_000, "mb": MB, "gb": 1_000 * MB, "tb": MB * MB}
_SIZE = re.compile(r"(?P<amount>\d{1,15}(\.\d{0,9})?)\s*(?P<unit>[kmgt]?b?)", re.IGNORECASE)


def in_words(count: float) -> str:
    """Bytes as ``17 B``, ``3.2 MB``, ``41 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:  # noqa: PLR2004 - what rounds to 1000 takes the next unit
            return f"{count:.1f} {unit}" if unit != "B" and count < 10 else f"{count:.0f} {unit}"  # noqa: PLR2004 - two digits
        count /= 1000
    return f"{count:,.1f} TB"


def counted(count: int, noun: str) -> str:
    """``1 order``, ``1,200 orders``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def read(text: str) -> int:
    """``500MB``, ``1.5 GB`` or ``2g`` in bytes.

    Raises:
        ValueError: it is not a size; a bare number is not one, since its unit could be mistaken.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found or not found["unit"]:
        raise ValueError(f"{text!r} is not a size; write 500MB or 2GB.")
    unit = found["unit"].lower()
    return int(float(found["amount"]) * _UNITS[unit if unit.endswith("b") else unit + "b"])


def read_share(text: str) -> float:
    """``0.98`` or ``98%`` as a share.

    Raises:
        ValueError: it is none from 0 to 1.
    """
    number = text.strip()
    try:
        share = float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{text!r} is not a share; write 0.98 or 98%.")
    return share
