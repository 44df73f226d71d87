"""JSON of the service made fit to print: every text, names of fields too, on one line. Pure.

A host writes into its record what it likes, and one record must cost no one the whole answer. What
a text of the account's own holds (`env`, `command`, keys) stays: it comes back as it was sent, and
is shown nowhere.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, cast

from clore_ai._values import secrets
from clore_ai._values.kinds import as_dict, as_list
from clore_ai._values.text import one_line

LONGEST_FIELD = 4_096
"""Characters of one text; a real one has 100."""
DEEPEST = 64
"""Objects and arrays inside each other; what lies deeper is None."""
_NUMBERS = frozenset({int, float, bool, type(None)})
_is_secret = lru_cache(maxsize=256)(secrets.is_secret)


def may_be_unfit(content: bytes) -> bool:
    """Might valid JSON hold a text that `clean` would change? Mostly a look at the bytes says no.

    So the megabytes of an ordinary marketplace are not walked through: 1 ms for 30.
    """
    return not content.isascii() or b"\\" in content or b"\x7f" in content or _is_long(content)


def _is_long(content: bytes) -> bool:
    """Is there room for a longer text than allowed? It would have no quote for half its length."""
    step = LONGEST_FIELD // 2
    return any(content.find(b'"', at, at + step) < 0 for at in range(0, len(content) - step, step))


def clean(value: Any) -> Any:  # noqa: ANN401 - JSON
    """`value` with every text made fit by `one_line`, secrets aside.

    Records that are fit stay as they are: making all anew takes three times as long.
    """
    return rebuilt(value, _field, same=_is_fit)


def rebuilt(
    value: Any,  # noqa: ANN401 - JSON
    text: Callable[[str], str],
    deepest: int = DEEPEST,
    same: Callable[[Any], bool] = lambda _item: False,
) -> Any:  # noqa: ANN401 - JSON
    """A copy with `text` applied to each text and name, secrets aside; None for what is too deep.

    Of two names that come to be the same, the one that was it before counts, else the first.
    `same`: of an item of a list, whether it can stay as it is.
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
    """Is it sure that no text in it needs to change? All at once: what takes time is Python."""
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
