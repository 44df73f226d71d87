"""How the user writes the consent to an upload: as options, or as parameters in Python."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote
from typing import Callable


@dataclass(frozen=True)
class Words:
    """How to name the `folder`, and how to allow more than is safe: `really`, `secret`, `size`."""

    folder: str
    really: str
    secret: Callable[[list[str]], str]
    size: Callable[[str], str]


PYTHON = Words(
    "folder=…",
    "yes_really=True",
    lambda names: f"send_secrets={names!r}",
    lambda size: f"max_upload={size!r}",
)
OPTIONS = Words(
    "--folder DIR",
    "--yes-really",
    lambda names: " ".join(f"--send-secret {quote(name)}" for name in names),
    lambda size: f"--max-upload {size}",
)
