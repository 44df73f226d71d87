"""One test body for every kind of room; a kind that cannot run here is skipped with the reason."""

import itertools
import os
from contextlib import ExitStack

import engine
import pytest

from clore_sandbox import Sandbox
from clore_sandbox.provision import KINDS


@pytest.fixture(scope="session")
def cannot():
    """Maps each kind to the reason why this machine cannot build such rooms, or to None."""
    known = {"process": None}
    with ExitStack() as stack:

        def ask(kind):
            if kind not in known:
                try:
                    if kind == "docker":
                        os.environ["DOCKER_HOST"] = stack.enter_context(engine.engine())
                        stack.callback(os.environ.pop, "DOCKER_HOST")
                    Sandbox(provisioner=kind).start().stop()
                    known[kind] = None
                except engine.Unavailable as exc:
                    known[kind] = str(exc)
                except RuntimeError as exc:
                    known[kind] = str(exc.__cause__)
            return known[kind]

        yield ask


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(each, marks=pytest.mark.exhaustive if each == "docker" else [])
        for each in KINDS
    ],
)
def kind(request, cannot):
    """The kind of isolation of a room; tests for containers alone are in `fence/`."""
    if (why := cannot(request.param)) is not None:
        pytest.skip(why)
    return request.param


@pytest.fixture(scope="module")
def quick(quick, kind):
    """Makes marketplaces with rooms of this kind."""
    return {**quick, "provisioner": kind}


_naps = itertools.count(3600)


@pytest.fixture
def nap():
    """A command line that no other process on this machine has."""
    return f"sleep {next(_naps)}.{os.getpid()}"
