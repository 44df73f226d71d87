"""The user's consent decides what is uploaded, however the folder has changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clore_ai._values import sizes
from clore_ai.jobs.upload.contents import Consent, look
from clore_ai.jobs.upload.words import OPTIONS

if TYPE_CHECKING:
    from pathlib import Path


def tree(place: Path, *names: str) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("x")


def test_a_new_secret_is_not_uploaded(tmp_path: Path) -> None:
    """A file created after the user's consent is omitted, with a message."""
    place = tmp_path / "w"
    tree(place, "x", ".env", "out/.env")
    (place / ".cloreignore").write_text("ignored*\n")
    found = look(place, ["out"], Consent((".env", "out/.env")), None, resends=True)
    assert (found.secrets, found.unnamed) == ([".env", "out/.env"], [])
    assert look(place, ["out"], Consent(), None).unnamed == [".env"]
    assert look(place, ["out"], Consent(), None, resends=True).unnamed == [".env", "out/.env"]
    tree(place, "id_new", "ignored_token", "y", "out/came")
    paths, said = found.upload.paths()
    assert paths == [b".cloreignore", b".env", b"x", b"y"]
    assert said == "Not uploaded, as it looks like a secret and is new: id_new."
    again, _ = found.upload.paths(resend=True)
    assert again == [b".cloreignore", b".env", b"out/.env", b"out/came", b"x", b"y"]


def test_names_of_strangers_are_shown_as_text(tmp_path: Path) -> None:
    """Neither the plan nor the question obeys an escape sequence or a newline in a name."""
    place = tmp_path / "w"
    tree(place, "a\x1b]52;c;x\x07\n/.env", "b c/token")
    why = look(place, [], Consent(), None, OPTIONS).why_not(Consent(), OPTIONS)
    assert why is not None
    assert why.isprintable()
    assert why.endswith("--send-secret 'a]52;c;x /.env' --send-secret 'b c/token'")


def test_many_secrets_do_not_fill_the_screen(tmp_path: Path) -> None:
    """Twenty are named; naming a folder allows all files in it."""
    place = tmp_path / "w"
    tree(place, *(f"keys/{n}.pem" for n in range(30)))
    found = look(place, [], Consent(), None)
    assert "and 10 more" in str(found.why_not(Consent(), OPTIONS))
    assert look(place, [], Consent(("keys",)), None).unnamed == []


def test_sizes_are_formatted() -> None:
    """They are in decimal units, with at least two digits if there are any."""
    counts = (0, 17, 999, 2_345, 99_999, 999_999, 31e6, 4.2e9, 3e15)
    words = ["0 B", "17 B", "999 B", "2.3 kB", "100 kB", "1.0 MB", "31 MB", "4.2 GB", "3,000.0 TB"]
    assert [sizes.in_words(count) for count in counts] == words


@pytest.mark.parametrize(
    ("text", "count"), [("500MB", 5e8), ("1.5 GB", 1.5e9), ("2g", 2e9), ("7 b", 7), (" 1Tb ", 1e12)]
)
def test_sizes_are_parsed(text: str, count: float) -> None:
    """A unit may have any spelling."""
    assert sizes.read(text) == count


@pytest.mark.parametrize("text", ["", "5", "MB", "-1MB", "1 XB", "nan MB", "1e9MB"])
def test_invalid_sizes_are_refused(text: str) -> None:
    """A plain number could mean any unit."""
    with pytest.raises(ValueError, match="write 500MB or 2GB"):
        sizes.read(text)
