"""The project in docs/testing.md is written out, and its tests are run as the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import served
from waiting import until

from clore_sandbox.control import OPERATIONS
from clore_sandbox.faults.faults import ORDER_KINDS, REQUEST_KINDS
from tests.cli.driver import processes_with

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
TEXT = PAGE.read_text("utf-8")
FILES = re.findall(r"```python\n(# file: (\S+)\n.*?)\n```", TEXT, re.DOTALL)
SCRIPTS = [text for text, name in FILES if name == "train.py"]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs pytest (or a module) over the page's files, with one version of the script."""

    def go(script: str, *words: str, module: str = "pytest") -> subprocess.CompletedProcess[str]:
        for text, name in FILES:
            (tmp_path / name).write_text(text, "utf-8")
        (tmp_path / "train.py").write_text(script, "utf-8")
        options = ("-p", "clore_sandbox.pytest_plugin", "-q") if module == "pytest" else ()
        code = f"""
import runpy, sys
sys.path.insert(0, "")
sys.argv = {[module, *words, *options]}
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
        # Other plugins take seconds to load.
        env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done: subprocess.CompletedProcess[str] = served.run(
            code, env=env, cwd=tmp_path, timeout=250
        )
        return done

    return go


@pytest.mark.timeout(300)
def test_the_first_version_passes_only_its_first_test(run):
    """Under faults each of the three other tests fails, as the page says."""
    naive, _ = SCRIPTS
    done = run(naive, "test_train.py", "test_bad_days.py")
    assert "3 failed, 1 passed" in done.stdout, done.stdout
    assert "FAILED test_train.py" not in done.stdout


def test_the_corrected_version_passes_all(run):
    _, mended = SCRIPTS
    done = run(mended, "test_train.py", "test_bad_days.py", "test_money.py", "test_options.py")
    assert "9 passed" in done.stdout, done.stdout


def test_unittest_needs_no_pytest(run):
    done = run(SCRIPTS[1], "test_with_unittest", module="unittest")
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr


def test_the_shell_commands_work_and_leave_no_process(tmp_path):
    """The block with curl runs unchanged in the shell of a user who has just installed clore."""
    (block,) = re.findall(r"```bash\n(.*?)\n```", TEXT, re.DOTALL)
    programs = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-ec", block],
        env={"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    asked = [line for line in block.splitlines() if line.startswith("control ")]
    assert done.stdout.count('"code":0') == len(asked), done.stdout + done.stderr
    until(lambda: not processes_with(f"HOME={tmp_path}"), "the end of all that it started")


def test_every_control_and_every_kind_of_fault_is_on_the_page():
    tables = TEXT[TEXT.index("## In any language") :]
    for name in (*OPERATIONS, *REQUEST_KINDS, *ORDER_KINDS):
        assert re.search(rf"`{name}\b", tables), name
