"""pytest fixtures: a marketplace, with the environment pointing every client at it.

    def test_my_rental_script(clore_sandbox): ...

    @pytest.mark.clore_sandbox(limits=True, dialect="reference")
    def test_it_keeps_the_pace(clore_sandbox): ...

pytest loads this plugin in every run in an environment with the package, so it imports the
marketplace only when a test uses a fixture, and works without the extra `sandbox` until then. The
entry point has this module's name, so `-p clore_sandbox.pytest_plugin` does not load it twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from clore_sandbox.sandbox import Sandbox

__all__ = ["clore_sandbox", "clore_sandbox_options", "clore_sandbox_session"]

_MARKER = "clore_sandbox(**options): options of Sandbox for this test's clore_sandbox"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, for `--strict-markers`."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture(scope="session")
def clore_sandbox_options() -> dict[str, Any]:
    """Options of `Sandbox` for every marketplace of the session; override it in conftest.py."""
    return {}


@pytest.fixture
def clore_sandbox(
    request: pytest.FixtureRequest, clore_sandbox_options: dict[str, Any]
) -> Iterator[Sandbox]:
    """A fresh marketplace for this test; the environment points every client at it.

    Its options are `clore_sandbox.testing.QUICK`, then those of the fixture
    `clore_sandbox_options`, then those of the mark `clore_sandbox`.
    """
    options = dict(clore_sandbox_options)
    # The closest mark comes first, and overrides the others.
    for mark in reversed(list(request.node.iter_markers("clore_sandbox"))):
        if mark.args:
            raise pytest.UsageError(
                f"the mark clore_sandbox takes keyword arguments only: {mark.args!r}"
            )
        options.update(mark.kwargs)
    with _marketplace(options) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def clore_sandbox_session(clore_sandbox_options: dict[str, Any]) -> Iterator[Sandbox]:
    """One marketplace for all tests that use it; restore it with `reset` or `load`.

    After its first use the environment points at it, except in tests that use `clore_sandbox`.
    """
    with _marketplace(clore_sandbox_options) as sandbox:
        yield sandbox


def _marketplace(options: dict[str, Any]) -> AbstractContextManager[Sandbox]:
    try:
        from clore_sandbox.testing import marketplace
    except ImportError as exc:
        pytest.fail(
            f"The local marketplace is not installed ({exc.name or exc}). In a checkout of "
            "clore-ai, run: pip install '.[sandbox]' (Python 3.10 or newer).",
            pytrace=False,
        )
    return marketplace(**options)
