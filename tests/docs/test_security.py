"""The page docs/security.md: each promise has a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_DEFAULT = re.compile(r"\| (?:promise|test).*?\(`(tests/[\w/.]*)`")
_NAMED = re.compile(r"`((?:[\w/]+\.py)?)(?:::(\w+))?`")


def test_each_promise_has_an_existing_test() -> None:
    """A test file is given by its path, or relative to the folder in the head of the table."""
    missing: list[str] = []
    promises = 0
    default, file = "", Path()
    for line in (ROOT / "docs" / "security.md").read_text("utf-8").splitlines():
        if line.startswith("| promise"):
            found = re.search(r"`(tests/[^`]*)`", line)
            default = found[1].rstrip("/") if found else ""
            file = ROOT / default
        elif line.startswith("| ") and default is not None and "test" in line:
            tests = line.rsplit("|", 2)[-2]
            names = [m for m in _NAMED.finditer(tests) if m[1] or m[2]]
            promises += bool(names)
            for name in names:
                if name[1]:
                    above = ROOT if name[1].startswith("tests/") else ROOT / default
                    file = (above if above.is_dir() else above.parent) / name[1]
                text = file.read_text("utf-8") if file.is_file() else ""
                if not text or (name[2] and f"def {name[2]}(" not in text):
                    missing.append(f"{name[0]} of {line[:60]}")
    assert promises > 30
    assert not missing, "\n".join(missing)
