"""Text of strangers made fit to print: one line, no control characters, not too long. Pure.

Hosts write the text fields of the marketplace's records, and whoever owns a machine writes what it
answers. An escape sequence there reaches the user's terminal (OSC 52 writes its clipboard), a
direction mark shows a text in another order than it has, a newline or tab adds rows and columns to
a table, a lone surrogate can't be encoded at all. The service's JSON passes `_api.clean`; for what
a machine answers, callers use `plain`. What a job writes is not for this: it stays raw.
"""

from __future__ import annotations

import re

LONGEST = 200
"""Characters that a sentence or a table's cell has room for."""
_CUT, _UNKNOWN = "…", "\ufffd"
_UNFIT = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"  # invisible, or another order
    r"\ud800-\udfff\ufffe\uffff\U000e0000-\U000e0fff]+"  # no characters, and tags
)
_KEPT = {"\n": "\n", "\t": " ", "\r": " ", "\v": " ", "\f": " "}


def plain(text: str | bytes, most: int = LONGEST, *, lines: bool = False) -> str:
    """`text` on one line, with what a terminal may obey or can't show left out.

    Args:
        text: bytes are read as UTF-8; what is none is shown as U+FFFD.
        most: characters at most; what is cut off shows as an ellipsis.
        lines: keep newlines, for a text of our own that may quote a stranger's.
    """
    if isinstance(text, bytes):
        text = text[: 4 * most + 4].decode("utf-8", "replace")
    text = _fit(text)
    return _cut(text if lines else " ".join(text.split()), most)


def one_line(text: str, most: int) -> str:
    """As `plain`, with its spaces kept: where they are data, or ours."""
    return _cut(_fit(text).replace("\n", " "), most)


def _fit(text: str) -> str:
    if text.isprintable() and text.isascii():
        return text
    text = _UNFIT.sub(_spaces, text)
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    """A character that is not assigned, or private, may be anything in a font."""
    if character.isprintable() or character == "\n":
        return character
    return " " if character.isspace() else _UNKNOWN


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(most - 1, 0)] + _CUT


def _spaces(found: re.Match[str]) -> str:
    """White space stays white space; everything else goes."""
    return "".join(_KEPT.get(character, "") for character in found[0])
