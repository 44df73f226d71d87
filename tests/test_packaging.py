"""The packages built from this tree, and their metadata."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USE = """
from typing import Any

from clore_client import CloreAPIError, CloreClient

client = CloreClient("key")
rows: list[dict[str, Any]] = client.list_servers()
order: dict[str, Any] = client.create_order(1, "image", spotprice=None)
answer: dict[str, Any] = CloreAPIError({}).response
client.create_order("one", "image")  # type: ignore[arg-type]
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder],
        cwd=ROOT, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_has_only_the_typed_packages(wheel: zipfile.ZipFile) -> None:
    """No tests; `py.typed` in each package, the license with it."""
    names = wheel.namelist()
    packages = {"clore_ai", "clore_client", "clore_sandbox"}
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == packages
    assert all(f"{package}/py.typed" in names for package in packages)
    assert not [name for name in names if "tests" in name.split("/")]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_holds_no_tests(built: Path) -> None:
    """`docs` in its list is the folder at the root, not every folder of that name."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        tops = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert tops - {".gitignore"} == {
        *("src", "docs", "examples", "README.md", "CHANGELOG.md", "LICENSE"),
        *("pyproject.toml", "PKG-INFO"),
    }


def test_the_metadata(wheel: zipfile.ZipFile) -> None:
    """Authors, a classifier for each Python, and no httpx 1, which renamed its API."""
    (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    said = message_from_bytes(wheel.read(name))
    assert said["Author"]
    pythons = {c.rsplit("3.", 1)[1] for c in said.get_all("Classifier") if ":: 3." in c}
    assert pythons == {"9", "10", "11", "12", "13", "14"}
    assert "httpx<1,>=0.27" in said.get_all("Requires-Dist")


def test_no_page_says_to_install_clore_ai_from_pypi() -> None:
    """`clore-ai` on PyPI is Clore.ai's own package; this one comes from a checkout or a wheel."""
    places = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in ("src", "docs", "examples", "deploy"):
        places += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    install = re.compile(r"""(pip3?|uv|pipx)\s[^\n]{0,40}\binstall\s+(-\S+\s+)*["'\s]*clore-ai""")
    for path in places:
        if path.suffix not in (".pyc", ".gz"):
            assert not install.search(path.read_text("utf-8")), path


@pytest.mark.exhaustive  # mypy reads the same uses in tests/typing, and the wheel has py.typed
def test_clore_client_is_typed(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """A program that imports the installed `clore_client` passes mypy's strict mode."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=60)
    (packages,) = venv.glob("lib/python*/site-packages")
    wheel.extractall(packages)
    program = tmp_path / "program.py"
    program.write_text(USE, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", venv / "bin" / "python",
         "--cache-dir", tmp_path / "cache", "--config-file", "", program],
        cwd=tmp_path, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
