"""`python -m bench` measures and prints; what it measures is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_one_figure_from_end_to_end():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--json", "--only", "gather"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["ours"] == "1 request"
    assert row["met"] is True
