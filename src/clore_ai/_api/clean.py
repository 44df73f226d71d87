"""Makes the service's JSON fit to print: every text, also names of fields, on one line. Pure.

Hosts write what they like into their records, and one record must not cost the user the whole
answer. The account's own texts (`env`, `command`, keys) are unchanged: they come back as they were
sent, and are never shown.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, cast

from clore_ai._values import secrets
from clore_ai._values.kinds import as_dict, as_list
from clore_ai._values.text import one_line

LONGEST_FIELD = 4_096
"""The most characters of one text; a real one has 100."""
DEEPEST = 64
"""The deepest nesting of objects and arrays; deeper values become None."""
_NUMBERS = frozenset({int, float, bool, type(None)})
_is_secret = lru_cache(maxsize=256)(secrets.is_secret)


def may_be_unfit(content: bytes) -> bool:
    """Might valid JSON hold a text that `clean` would change? Usually the bytes alone rule it out.

    So the megabytes of an ordinary marketplace are not walked through: 1 ms instead of 30.
    """
    return not content.isascii() or b"\\" in content or b"\x7f" in content or _is_long(content)


def _is_long(content: bytes) -> bool:
    """Could there be a text that is too long? It would have no quote for half its length."""
    step = LONGEST_FIELD // 2
    return any(content.find(b'"', at, at + step) < 0 for at in range(0, len(content) - step, step))


def clean(value: Any) -> Any:  # noqa: ANN401 - JSON
    """`value` with every text made fit by `one_line`, except secrets.

    Records that are fit are kept: rebuilding all takes three times as long.
    """
    return rebuilt(value, _field, same=_is_fit)


def rebuilt(
    value: Any,  # noqa: ANN401 - JSON
    text: Callable[[str], str],
    deepest: int = DEEPEST,
    same: Callable[[Any], bool] = lambda _item: False,
) -> Any:  # noqa: ANN401 - JSON
    """A copy with `text` applied to texts and names, except secrets; too deep values become None.

    If two names become equal, the unchanged one wins, else the first. `same`: can an item of a list
    be kept unchanged?
    """
    if isinstance(value, str):
        return text(value)
    entries, items = as_dict(value), as_list(value)
    if entries is None and items is None:
        return value
    if not deepest:
        return None
    deepest -= 1
    if entries is None:
        return [i if same(i) else rebuilt(i, text, deepest, same) for i in items or ()]
    found: dict[str, Any] = {}
    for name, inner in entries.items():
        fit = text(name)
        if fit == name or not (fit in entries or fit in found):
            found[fit] = rebuilt(inner, str if _is_secret(name) else text, deepest, same)
    return found


def _field(text: str) -> str:
    return one_line(text, LONGEST_FIELD)


def _is_fit(value: Any) -> bool:  # noqa: ANN401 - JSON
    """Is it certain that no text needs to change? All are checked at once: loops are slow."""
    texts: list[str] = []
    left: list[Any] = [value]
    while left:
        item = left.pop()
        kind = cast("type[object]", type(item))
        if kind is dict:
            texts += item
            left += item.values()
        elif kind is list:
            left += item
        elif isinstance(item, str):
            texts.append(item)
    whole = "".join(texts)
    return (
        whole.isascii()
        and whole.isprintable()
        and (len(whole) <= LONGEST_FIELD or max(map(len, texts)) <= LONGEST_FIELD)
    )
