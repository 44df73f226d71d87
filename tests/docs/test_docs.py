"""Documents stay correct: examples are run, and help texts are compared with the commands."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import served
from click import Context, Group, Option

from clore_ai import CloreAI
from clore_ai.cli import cli
from clore_sandbox import Sandbox, serve

from . import draw_layers, write_cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

    Run = Callable[..., CompletedProcess[str]]

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
_PYTHON = re.compile(r"```python\n(.*?)\n```", re.DOTALL)
_CONSOLE = re.compile(r"```console\n(.*?)\n```", re.DOTALL)
_LINK = re.compile(r"\]\((?!http)([^)#]+)")


def blocks() -> list[object]:
    found = []
    for page in PAGES:
        for number, code in enumerate(_PYTHON.findall(page.read_text("utf-8")), 1):
            if code.startswith("# file: "):  # run as a project in test_testing.py
                continue
            found.append(pytest.param(code, id=f"{page.stem}-{number}"))
    return found


def commands() -> list[object]:
    found = []
    for page in PAGES:
        for block in _CONSOLE.findall(page.read_text("utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                found += [
                    pytest.param(command, id=f"{page.stem}: {command.strip()}")
                    for command in re.findall(r"(?:\$ |\$\()(clore [^)#]*)", line)
                ]
    return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> object:
    """One marketplace for the module, and the settings that point a program at it."""
    with Sandbox(limits=False, visibility_lag_s=0.1, boot_s=0.1) as sandbox:
        yield {
            **os.environ,
            "CLORE_API_KEY": sandbox.api_key,
            "CLORE_BASE_URL": sandbox.base_url,
            "CLORE_HOME": str(tmp_path_factory.mktemp("home")),
            "CLORE_REQUESTS_PER_SECOND": "1000",
        }


@pytest.fixture(scope="module")
def run(environment: dict[str, str]) -> Run:
    """Runs a program with warnings as errors, in a process that has imported the packages."""

    def go(path: Path, *words: str) -> CompletedProcess[str]:
        code = f"""
import runpy, sys, warnings
warnings.simplefilter("error")
sys.argv = {[str(path), *words]}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
        done: CompletedProcess[str] = served.run(code, env=environment)
        return done

    return go


@pytest.mark.parametrize("code", blocks())
def test_every_python_block_runs(
    code: str, run: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    """A Python block of the README or of docs/ runs unchanged, and leaves no order."""
    program = tmp_path / "block.py"
    program.write_text(code, "utf-8")
    done = run(program)
    assert done.returncode == 0, done.stderr
    running = _running(environment)
    for order in running:  # from this block, not from the next one
        CloreAI(environment["CLORE_API_KEY"], environment["CLORE_BASE_URL"]).cancel_order(order)
    assert not running, "the block leaves an order running"


def _running(environment: dict[str, str]) -> list[int]:
    with CloreAI(environment["CLORE_API_KEY"], environment["CLORE_BASE_URL"]) as client:
        return [order.id for order in client.my_orders() if order.active]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs(example: Path, run: Run, environment: dict[str, str]) -> None:
    """A program in examples/ runs, prints something and leaves no order behind."""
    done = run(example)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr
    assert not _running(environment)


def test_the_rental_example_shows_the_gpu(run: Run) -> None:
    """The program examples/rent_and_run.py reaches the rented machine and its GPU."""
    done = run(ROOT / "examples" / "rent_and_run.py", "RTX 3090", "nvidia-smi -L")
    assert "GPU 0: NVIDIA GeForce RTX 3090" in done.stdout, done.stderr
    assert "cancelled" in done.stdout


@pytest.mark.parametrize("command", commands())
def test_every_shown_command_line_exists(command: str) -> None:
    """A `clore` line in a document uses commands and options that exist."""
    words = shlex.split(command)[1:]
    current, context = cli, Context(cli, info_name="clore")
    while isinstance(current, Group) and words and not words[0].startswith("-"):
        found = current.get_command(context, words[0])
        assert found is not None, command
        current, words = found, words[1:]
    known = {name for p in current.params if isinstance(p, Option) for name in p.opts}
    if "--" in words:
        words = words[: words.index("--")]
    for word in words:
        if word.startswith("-") and " " not in word:  # a value may begin with a dash
            assert word.split("=")[0] in known, f"{command}: {word}"


def test_every_command_is_documented() -> None:
    """The page docs/cli.md has every command exactly once."""
    shown = write_cli.documented(write_cli.PAGE.read_text("utf-8"))
    assert sorted(shown) == sorted(write_cli.every_command())


def test_help_texts_are_current() -> None:
    """Each `--help` in docs/cli.md is up to date; `python -m tests.docs.write_cli` rewrites it."""
    page = write_cli.PAGE.read_text("utf-8")
    assert page == write_cli.written(page)


def test_every_option_of_the_marketplace_is_documented() -> None:
    """The table of docs/sandbox.md has one line for each option of `clore sandbox up`, and no more.

    `up` has the same options as `python -m clore_sandbox`.
    """
    up = cli.get_command(Context(cli), "sandbox").get_command(Context(cli), "up")
    of_all = {"--debug", "--curl"}
    options = [p.opts[0] for p in up.params if isinstance(p, Option) and p.opts[0] not in of_all]
    page = (ROOT / "docs" / "sandbox.md").read_text("utf-8")
    assert sorted(re.findall(r"^\| `(--[a-z-]+)", page, re.MULTILINE)) == sorted(options)
    served = {word for action in serve.parser()._actions for word in action.option_strings}
    assert served - {"-h", "--help", "--state-dir"} == set(options) - {"--detach"}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_point_to_existing_files(page: Path) -> None:
    """Each relative link in a document is the path of an existing file."""
    for target in _LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_the_drawn_layers_are_current() -> None:
    """The layers in docs/architecture.md and their purposes are those import-linter checks."""
    page = draw_layers.PAGE.read_text("utf-8")
    assert page == draw_layers.drawn(page), "run: python -m tests.docs.draw_layers"
    assert "clore_ai.rental" in page
