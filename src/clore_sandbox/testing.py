"""A marketplace for your tests, with the environment variables by which every client finds it.

    with marketplace() as sandbox:      # any test runner
        ...

    class TestMyScript(SandboxTestCase):    # unittest
        def test_it(self): self.sandbox.fault("create_order", "act_then_cut")

With pytest, use the fixture `clore_sandbox` instead (pytest_plugin.py). The marketplace is quick by
default: see `QUICK`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import unittest
from typing import TYPE_CHECKING, Any

from clore_sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

__all__ = ["QUICK", "SandboxTestCase", "marketplace"]

QUICK: Mapping[str, Any] = {"limits": False, "visibility_lag_s": 0.1, "boot_s": 0.1}
"""No rate limits, and an order is listed and boots in a fifth of a second. A test of the service's
own pace overrides them."""

_LOCAL = "127.0.0.1,localhost"


@contextlib.contextmanager
def marketplace(**options: Any) -> Generator[Sandbox, None, None]:  # noqa: ANN401 - Sandbox's own
    """A fresh marketplace on a free port; `options` of `Sandbox` override `QUICK`.

    These variables are set while it runs, and restored afterwards:

    - `CLORE_BASE_URL`, `CLORE_API_KEY`: for the SDK, the CLI and any other client.
    - `CLORE_HOME`: an empty folder, so that the user's config, records and keys are not used.
    - `CLORE_REQUESTS_PER_SECOND`: high if the rate limits are off; otherwise not set.
    - `CLORE_CONTROL_URL`, `CLORE_CONTROL_KEY`: for tests in other languages.
    - `NO_PROXY`: no proxy is used on loopback.
    """
    with (
        tempfile.TemporaryDirectory(prefix="clore-test-") as home,
        Sandbox(**{**QUICK, **options}) as sandbox,
        _environment(sandbox, home, limits=bool({**QUICK, **options}["limits"])),
    ):
        yield sandbox


@contextlib.contextmanager
def _environment(sandbox: Sandbox, home: str, *, limits: bool) -> Generator[None, None, None]:
    changed = {
        **sandbox.environment,
        "CLORE_HOME": os.path.join(home, ".clore"),  # noqa: PTH118 - a variable's text
        "CLORE_CONTEXT": None,
        "CLORE_REQUESTS_PER_SECOND": None if limits else "1000",
    }
    for name in ("NO_PROXY", "no_proxy"):
        before = os.environ.get(name)
        changed[name] = f"{before},{_LOCAL}" if before else _LOCAL
    saved = {name: os.environ.get(name) for name in changed}
    _set(changed)
    try:
        yield
    finally:
        _set(saved)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class SandboxTestCase(unittest.TestCase):
    """A test case whose every test has a fresh marketplace, `self.sandbox`.

    The class attribute `sandbox_options` holds options of `Sandbox`.
    """

    sandbox: Sandbox
    sandbox_options: Mapping[str, Any] = {}

    def setUp(self) -> None:
        """Start the marketplace."""
        super().setUp()
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.sandbox = stack.enter_context(marketplace(**self.sandbox_options))
