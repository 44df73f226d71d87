"""Makes strangers' text fit to print: one line, no control characters, limited length. Pure.

Hosts write the text fields of the marketplace's records, and a machine's owner controls its
answers. An escape sequence in them reaches the user's terminal (OSC 52 writes its clipboard), a
direction mark shows text in another order, a newline or tab adds rows and columns to a table, and a
lone surrogate can't be encoded at all. The service's JSON passes `_api.clean`; callers use `plain`
for the answers of machines. The output of jobs is not filtered: it stays raw.
"""

from __future__ import annotations

import re

LONGEST = 200
"""The characters that fit in a sentence or in a cell of a table."""
_CUT, _UNKNOWN = "…", "\ufffd"
_UNFIT = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"  # invisible, or changes the order
    r"\ud800-\udfff\ufffe\uffff\U000e0000-\U000e0fff]+"  # noncharacters, and tags
)
_KEPT = {"\n": "\n", "\t": " ", "\r": " ", "\v": " ", "\f": " "}


def plain(text: str | bytes, most: int = LONGEST, *, lines: bool = False) -> str:
    """`text` on one line, without characters that a terminal may obey or can't show.

    Args:
        text: bytes are read as UTF-8; invalid ones are shown as U+FFFD.
        most: the most characters; a cut is shown as an ellipsis.
        lines: keep newlines, for a text of our own that may quote a stranger's.
    """
    if isinstance(text, bytes):
        text = text[: 4 * most + 4].decode("utf-8", "replace")
    text = _fit(text)
    return _cut(text if lines else " ".join(text.split()), most)


def one_line(text: str, most: int) -> str:
    """As `plain`, but keeps spaces, for texts in which they are data, or ours."""
    return _cut(_fit(text).replace("\n", " "), most)


def _fit(text: str) -> str:
    if text.isprintable() and text.isascii():
        return text
    text = _UNFIT.sub(_spaces, text)
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    """Replaces unassigned and private characters, which a font may show as anything."""
    if character.isprintable() or character == "\n":
        return character
    return " " if character.isspace() else _UNKNOWN


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(most - 1, 0)] + _CUT


def _spaces(found: re.Match[str]) -> str:
    """Keeps white space; every other character is removed."""
    return "".join(_KEPT.get(character, "") for character in found[0])
