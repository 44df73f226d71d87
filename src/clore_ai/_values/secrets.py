"""Keeps secrets out of everything that is shown: reprs, logs, errors, printed JSON.

There are two rules, since neither is enough alone. By name: every value under a secret's name in
JSON is a secret, as is every environment value. By value: known secrets are removed from any text
that quotes them, such as an answer. May do no I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from clore_ai._values.kinds import as_dict, as_list

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import SupportsIndex

T = TypeVar("T")

MASK = "***"
_NAMES = frozenset({"auth", "command", "control_key", "env", "ssh_key"})
_PARTS = re.compile(r"passw|secret|token|credential|private|api_?key|_auth$", re.IGNORECASE)
_TOO_SHORT = 4
"""A shorter text occurs within ordinary words, which scrubbing would hide."""
_SHORT_SECRET = 8


class Secret(str):
    """A string with a masked `repr`: it is hidden in a traceback's locals, a dict or a dataclass.

    It is sent, compared and printed like any string.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        return Secret(super().__getitem__(key))  # rich cuts long locals before it asks for a repr


class SecretBytes(bytes):
    """The same for bytes, for a header that HTTP libraries pass on and may log."""

    def __repr__(self) -> str:
        return repr(MASK.encode())


HIDDEN = "…"
"""Shown as the ending of a secret that is too short to show any part of it."""


def ending(secret: object) -> str:
    """The last four characters of a secret that has more than eight; else `HIDDEN`."""
    text = str(secret)
    return f"…{text[-4:]}" if len(text) > _SHORT_SECRET else HIDDEN


def is_secret(name: str) -> bool:
    """Is a value under this name in JSON a secret? All of ``env`` and ``command`` is."""
    return name in _NAMES or _PARTS.search(name) is not None


def hide(value: T) -> T:
    """`value`, a secret, with every text in it a `Secret`; None stays None."""
    hidden: T = _walk(value, _hidden, secret=True)
    return hidden


def conceal(value: T) -> T:
    """The same JSON in which every secret, judged by its name, is a `Secret`."""
    concealed: T = _walk(value, _hidden, secret=False)
    return concealed


def masked(value: object) -> Any:  # noqa: ANN401 - JSON
    """JSON to be shown, with ``***`` for every secret."""
    return _walk(value, lambda v: v if v in (None, "") else MASK, secret=False)


def without(value: object) -> Any:  # noqa: ANN401 - JSON
    """JSON to be shown, without its secrets."""
    entries, items = as_dict(value), as_list(value)
    if entries is not None:
        return {k: without(v) for k, v in entries.items() if not is_secret(k)}
    return value if items is None else [without(v) for v in items]


def texts(value: object) -> set[str]:
    """Every secret text in a JSON value."""
    found: set[str] = set()

    def note(leaf: object) -> object:
        if isinstance(leaf, str):
            found.add(str(leaf))
        return leaf

    _walk(value, note, secret=False)
    return found


def forms(secret: str) -> set[str]:
    """A secret in plain text, and as it is written in JSON, a `repr` and a URL."""
    import json  # both are slow to import, and help needs none
    from urllib.parse import quote, quote_plus

    quoted = (json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(str(secret)))
    return {str(secret), quote(secret, safe=""), quote_plus(secret), *(q[1:-1] for q in quoted)}


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` without these secrets, in all their `forms`."""
    found = {form for secret in secrets if len(secret) >= _TOO_SHORT for form in forms(secret)}
    for form in sorted(found, key=len, reverse=True):  # one may be a part of another
        text = text.replace(form, MASK)
    return text


def scrub_json(value: T, secrets: Iterable[str]) -> T:
    """JSON with all texts scrubbed; names are kept."""
    known = [secret for secret in secrets if len(secret) >= _TOO_SHORT]

    def clean(leaf: object) -> object:
        return scrub(leaf, known) if isinstance(leaf, str) else leaf

    scrubbed: T = _walk(value, clean, secret=True) if known else value
    return scrubbed


def _hidden(leaf: object) -> object:
    return Secret(leaf) if isinstance(leaf, str) else leaf


def _walk(value: Any, change: Callable[[object], object], *, secret: bool) -> Any:  # noqa: ANN401 - JSON
    """A copy with `change` applied to each plain value below a secret's name."""
    entries, items = as_dict(value), as_list(value)
    if entries is not None:
        return {k: _walk(v, change, secret=secret or is_secret(str(k))) for k, v in entries.items()}
    if items is not None:
        return [_walk(v, change, secret=secret) for v in items]
    return change(value) if secret else value
