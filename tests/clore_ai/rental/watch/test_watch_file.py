"""A file of watches: one table each, with a name of its own."""

from __future__ import annotations

import pytest

from clore_ai.exceptions import InvalidInputError
from clore_ai.rental.watch import watch_file


def test_each_table_is_a_watch() -> None:
    """A watch without a name is counted."""
    raw = b'[[watch]]\ngpu = "A100"\n[[watch]]\nname = "cheap"\nmax-price = "0.2/h"\n'
    found = watch_file.tables("f", raw)
    assert found == {"watch 1": {"gpu": "A100"}, "cheap": {"max-price": "0.2/h"}}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"x = 1\n[[watch]]\n", "'x' is outside a [[watch]] table"),
        (b"", "holds no watches"),
        (b"watch = [1]\n", "write [[watch]], in two brackets"),
        (b'[[watch]]\nname = "a"\n[[watch]]\nname = "a"\n', "two watches have the name 'a'"),
        (b"=", "is not valid TOML"),
    ],
)
def test_anything_else_is_refused(raw: bytes, message: str) -> None:
    """The message names the file and the fault."""
    with pytest.raises(InvalidInputError) as refused:
        watch_file.tables("f", raw)
    assert str(refused.value).startswith("f")
    assert message in str(refused.value)
