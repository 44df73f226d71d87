"""For a kind that this machine cannot run, one sentence says what to install."""

import os
import subprocess
import sys

import pytest

from clore_sandbox import Sandbox


def up(*words, **environ):
    return subprocess.run(
        [sys.executable, "-m", "clore_sandbox", *words],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("kind", "environ", "words"),
    [
        ("bwrap", {"PATH": "/nothing"}, "needs bwrap: install bubblewrap"),
        ("docker", {"DOCKER_HOST": "unix:///nothing/sock"}, "needs a Docker engine"),
        ("docker", {"DOCKER_HOST": "tcp://127.0.0.1:9"}, "needs a"),
        ("docker", {"DOCKER_HOST": "what://?"}, "needs a Docker engine"),
    ],
)
def test_a_missing_requirement_is_one_sentence(kind, environ, words):
    done = up("--provisioner", kind, **environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="process, bwrap, docker"):
        Sandbox(provisioner="jail")
    assert up("--provisioner", "jail").returncode == 2
