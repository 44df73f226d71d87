"""One test body for every kind of room; a kind that cannot run here is skipped and says why."""

import pytest

from clore_sandbox import Sandbox
from clore_sandbox.provision import KINDS


@pytest.fixture(scope="session")
def cannot():
    """Kind → why this machine cannot build such rooms; None where it can."""
    known = {"process": None}

    def ask(kind):
        if kind not in known:
            try:
                Sandbox(provisioner=kind).start().stop()
                known[kind] = None
            except RuntimeError as exc:
                known[kind] = str(exc.__cause__)
        return known[kind]

    return ask


@pytest.fixture(scope="module", params=KINDS)
def kind(request, cannot):
    """How rooms are fenced in."""
    if (why := cannot(request.param)) is not None:
        pytest.skip(why)
    return request.param


@pytest.fixture(scope="module")
def quick(quick, kind):
    """Marketplaces whose rooms are of the kind."""
    return {**quick, "provisioner": kind}
