"""Marks: where the answer to a question begins in what a machine sends. Pure.

A new mark for each question: the output of a shell's start-up files, or a name with a newline, is
not mistaken for the answer.
"""

from __future__ import annotations

import secrets


def new() -> str:
    """A word that nobody can guess."""
    return f"clore-{secrets.token_hex(12)}"


def after(mark: str, answer: bytes) -> bytes | None:
    """What follows the mark's line; None if there is none."""
    _, found, rest = answer.partition(f"\n{mark}\n".encode())
    return rest if found else None
