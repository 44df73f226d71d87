"""Prints the lower bounds of pyproject.toml as pip's constraints: ``httpx==0.27``."""

from __future__ import annotations

import sys
from pathlib import Path

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

text = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
project = tomllib.loads(text)["project"]
lowest: dict[str, str] = {}
for words in [*project["dependencies"], *project["optional-dependencies"]["sandbox"]]:
    wanted = Requirement(words)
    if wanted.marker is None or wanted.marker.evaluate():
        # Of several that apply here, the last one is the highest.
        lowest[wanted.name] = next(s.version for s in wanted.specifier if s.operator == ">=")
for name, version in lowest.items():
    print(f"{name}=={version}")
