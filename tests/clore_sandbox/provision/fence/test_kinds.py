"""For a kind that this machine cannot run, one sentence says what to install."""

import os
import subprocess

import pytest
import served

from clore_sandbox import Sandbox


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
    env = {**os.environ, **environ}
    with served.start("--provisioner", kind, env=env, stderr=subprocess.PIPE, text=True) as server:
        out, err = server.communicate(timeout=30)
    assert (server.returncode, out) == (1, "")
    (line,) = err.splitlines()
    assert words in line


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="process, bwrap, docker"):
        Sandbox(provisioner="jail")
    assert served.fails("--provisioner", "jail")[0] == 2
