"""Every name of PyPI's 0.1.1 exists in this package too, compared with the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NAMES = Path(__file__).with_name("names.py")
#: Names that its models module imports for its own use.
BORROWED = {"Any", "BaseModel", "ConfigDict", "Dict", "Field", "List", "Optional"}


def described(python: Path | str) -> Any:
    done = subprocess.run([str(python), str(NAMES)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def theirs(python: Path) -> Any:
    return described(python)


@pytest.fixture(scope="session")
def ours() -> Any:
    return described(sys.executable)


def test_every_name_can_be_imported(theirs, ours):
    """From the same module; names that `models` imports from elsewhere do not count."""
    for module, names in theirs["names"].items():
        borrowed = BORROWED if module == "clore_ai.models" else set()
        assert set(names) - set(ours["names"][module]) - borrowed == set(), module


def test_classes_have_the_same_members(theirs, ours):
    """Methods have the same parameters, order and defaults; properties are the same too.

    Parameters added here are keyword-only.
    """
    assert len(theirs["classes"]) > 30
    for name, kind in theirs["classes"].items():
        mine = ours["classes"][name]
        assert set(kind["bases"]) <= set(mine["bases"]), name
        for member, shape in kind["members"].items():
            assert member in mine["members"] or member in (mine["fields"] or ()), (name, member)
            assert shape is None or mine["members"][member] == shape, (name, member)


def test_models_have_the_same_attributes(theirs, ours):
    """As fields or properties; read from an empty record, they are None."""
    from clore_ai import models

    for name, kind in theirs["classes"].items():
        fields = ours["classes"][name]["fields"]
        if not name.startswith("clore_ai.models.") or kind["fields"] is None:
            continue
        mine = getattr(models, name.rpartition(".")[2])
        empty = mine.model_validate({"id": 1, "name": "a", "code": 0})
        for field in kind["fields"]:
            assert field in fields or field in ours["classes"][name]["members"], (name, field)
            bare = {"id": 1, "name": "a", "code": 0, "gpu_count": 0}.get(field)
            assert getattr(empty, field) == bare, (name, field)


def test_modules_are_there_after_one_import(theirs, ours):
    """`import clore_ai` alone makes `clore_ai.client` available, as before."""
    assert theirs["loaded"] == ours["loaded"] == ["client", "exceptions", "models"]
