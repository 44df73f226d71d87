"""`python -m bench` measures and prints; these tests check that it works, not how fast it is."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clore_sandbox.fleet.sample import sample_fleet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program(of_bench, tmp_path, monkeypatch):
    """`python -m bench` on a small fleet, in this process."""
    from bench import __main__ as program

    fleet = tmp_path / "fleet.json"
    fleet.write_text(json.dumps({"servers": sample_fleet(0, 150)}), "utf-8")
    monkeypatch.setenv("CLORE_INVENTORY", str(fleet))
    return program


@pytest.fixture
def of(program, monkeypatch, capsys):
    """Measures figures, and gives their rows by name; their speed means nothing here.

    A figure whose programs are missing here has no rows.
    """

    def measure(*figures):
        here = [name for name in figures if all(map(shutil.which, NEEDS.get(name, [])))]
        words = [word for name in here for word in ("--only", name)]
        monkeypatch.setattr(sys, "argv", ["bench", "--quick", "--json", *words])
        assert program.main() == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        found = {name: [row for row in rows if row["figure"] == name] for name in here}
        assert {name: len(found[name]) for name in here} == {name: ROWS[name] for name in here}
        return found

    return measure


ROWS = {
    "gather": 1,
    "race": 2,
    "rent": 4,
    "watch": 3,
    "week": 1,
    "spot": 3,
    "fetch": 2,
    "listing": 2,
}
NEEDS = {"rent": ["ssh"], "fetch": ["ssh", "rsync"], "listing": ["wrk"]}


def test_it_starts_without_the_paths_of_pytest():
    """`python -m bench` finds its modules, and the tests' that it uses, from the folder alone."""
    words = [sys.executable, "-m", "bench", "--help"]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "one_pace" in done.stdout


def test_the_figures_from_end_to_end(of):
    """The counts are right, and every target that does not depend on speed is met."""
    rows = of("gather", "week")

    (gather,) = rows["gather"]
    assert (gather["ours"], gather["met"]) == ("1 request", True)

    (week,) = rows["week"]
    assert "the books balance" in week["notes"][0]


@pytest.mark.exhaustive
def test_the_slower_figures(of):
    """The same for those that take more than a second or two."""
    rows = of("watch", "spot", "race", "rent", "fetch", "listing")

    threads, processes, look = rows["watch"]
    assert threads["met"] is processes["met"] is True
    assert look["ours"].endswith(")")

    held, price, roomy = rows["spot"]
    assert held["met"] is price["met"] is True
    assert "all-knowing $" in price["notes"][0]
    assert roomy["met"] is None

    for row in rows.get("listing", []):
        assert row["ours"].endswith(")")
        assert row["theirs"].endswith(")")

    sqlite, postgres = rows["race"]
    assert "400 attempts" in sqlite["notes"][0]
    assert "0 double rents" in sqlite["notes"][0]
    assert ", 0 orders of which" in sqlite["notes"][0]
    assert postgres["ours"] == "not run" or "0 double rents" in postgres["notes"][0]

    for row in rows.get("rent", []):
        assert row["ours"].endswith(")")
    for row in rows.get("fetch", [])[:1]:
        assert row["ours"].endswith(")")
        assert row["theirs"].endswith(")")


def test_a_failed_figure_is_a_row_and_the_others_are_measured(program, monkeypatch, capsys):
    """Each row is printed once it is measured; in the exit code a failure counts as a miss."""
    from bench.report import Row

    def breaks(_setting):
        print("measured before:", "well" in capsys.readouterr().out)
        raise OSError("the\ndisk is full")

    figures = {"a": lambda _setting: [Row("well", "1 ms")], "b": breaks,
               "c": lambda _setting: [Row("also", "2 ms")]}  # fmt: skip
    monkeypatch.setattr(program, "FIGURES", figures)
    monkeypatch.setattr(sys, "argv", ["bench", "--quick"])
    assert program.main() == 0  # the speed of a quick run means nothing
    said, times = capsys.readouterr()
    assert said.startswith("measured before: True\nb ")
    assert re.search(r"^b: \d+\.\d s\nc …\nc: \d+\.\d s\nall figures: \d", times, re.MULTILINE)
    assert "- b: failed: OSError: the disk is full" in said
    assert "also" in said.partition("failed")[2]
    monkeypatch.setattr(program.environment, "prepare", program.environment.here)
    monkeypatch.setattr(sys, "argv", ["bench"])
    assert program.main() == 1


def test_figures_that_only_count_are_measured_side_by_side(program, monkeypatch, capsys):
    """Each of two waits for the other; the rest follow one after the other."""
    from bench.report import Row

    both = threading.Barrier(2)

    def counts(_setting):
        both.wait(timeout=60)
        return [Row("counted", "1")]

    figures = {"a": lambda _setting: [Row("timed", "1 ms")], "b": counts, "c": counts}
    monkeypatch.setattr(program, "FIGURES", figures)
    monkeypatch.setattr(program, "COUNTED", {"b", "c"})
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "--json"])
    assert program.main() == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["what"] for row in rows] == ["counted", "counted", "timed"]


@pytest.mark.parametrize(("runs", "calls"), [(1, 1), (5, 5), (10, 11)])
def test_a_long_figure_has_no_warm_up(of_bench, runs, calls):
    """The median of five leaves a cold first run out; of more, each has one that isn't counted."""
    from bench.pairs import in_turn

    played = []
    pairs = in_turn(lambda: played.append("a") or 1.0, lambda: played.append("b") or 2.0, runs)
    assert played == ["a", "b"] * calls
    assert (len(pairs.a), len(pairs.b), pairs.ratio) == (runs, runs, 0.5)


@pytest.fixture
def of_bench(monkeypatch):
    """The modules of bench, found as `python -m bench` finds them."""
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.figures.market import race

    from bench import cpu, memory

    return cpu, memory, race


def test_overlapping_orders_are_a_double_rent(of_bench):
    """Number, server, start, end; a start in the millisecond of an end is no overlap."""
    *_, race = of_bench
    apart = [(1, 7, 0, 10), (2, 8, 5, 9), (3, 7, 10, 20), (4, 8, 9, None)]
    assert race._doubles(apart) == 0
    assert race._doubles([*apart, (5, 7, 19, 30)]) == 1
    assert race._doubles([*apart, (5, 8, 30, 40)]) == 1


def test_memory_includes_child_processes(of_bench):
    _, memory, _ = of_bench
    hold = "x = bytearray(50_000_000); print(1, flush=True); input()"
    with subprocess.Popen(
        ["sh", "-c", '"$0" -c "$1"; true', sys.executable, hold],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as shell:
        assert shell.stdout.readline() == b"1\n"
        held = memory.of_tree(shell.pid)
        assert memory.of_tree(os.getpid()).processes > held.processes == 2
        shell.stdin.close()
    assert 50 < held.pss_mb <= held.rss_mb < 150


def test_cpu_includes_child_processes(of_bench):
    cpu, *_ = of_bench
    burn = "import time\nwhile time.process_time() < 0.5: pass\nprint(1, flush=True); input()"
    with subprocess.Popen(
        ["sh", "-c", '"$0" -c "$1"; true', sys.executable, burn],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as shell:
        assert shell.stdout.readline() == b"1\n"
        assert cpu.of_one(shell.pid) < 0.4 < cpu.of_tree(shell.pid) < 2
        shell.stdin.close()
