"""The code blocks of a Markdown document, read as CommonMark does, and how to run them."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

import places

BASE_URL = "https://api.clore.ai/v1"
_OPENS = re.compile(r"\s*(?P<fence>`{3,})\s*(?P<language>\w*)[^`]*$")
_KEYS = re.compile(r'YOUR_API_KEY|your-api-key|(?<=api_key=")\.\.\.(?=")')


@dataclass(frozen=True)
class Block:
    """One block: number of the document, number within it, language, text."""

    document: str
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        first = next((line for line in self.text.splitlines() if line.strip()), "")
        words = re.sub(r"\W+", "-", first)[:40].strip("-")
        return f"{self.document}-{self.number}-{words}"

    def at(self, base_url: str, key: str) -> str:
        """The text with another address and key, otherwise unchanged."""
        return _KEYS.sub(key, self.text.replace(BASE_URL, base_url))

    @property
    def runs(self) -> bool:
        """Whether the Python compiles; signatures, which the reference writes as calls, do not."""
        try:
            compile(self.text, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError:
            return False
        return True


def blocks(document: str) -> list[Block]:
    """All blocks of a document; none if the documents are not available."""
    path = places.document(document)
    if path is None:
        return []
    found: list[Block] = []
    fence, language, lines = "", "", []
    for line in path.read_text("utf-8").splitlines():
        opens = _OPENS.match(line)
        if not fence and opens:
            fence, language, lines = opens["fence"], opens["language"], []
        elif fence and line.strip().startswith(fence) and not line.strip().strip("`"):
            found.append(Block(document, len(found) + 1, language, "\n".join(lines)))
            fence = ""
        elif fence:
            lines.append(line)
    return found


def of(document: str, language: str, start: str = "") -> list[Block]:
    """The blocks of one language whose text starts like this."""
    return [
        b for b in blocks(document) if b.language == language and b.text.lstrip().startswith(start)
    ]
