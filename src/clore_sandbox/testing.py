"""A marketplace for one's own tests, with an environment in which every client finds it.

    with marketplace() as sandbox:      # any test runner
        ...

    class TestMyScript(SandboxTestCase):    # unittest
        def test_it(self): self.sandbox.fault("create_order", "act_then_cut")

pytest needs neither: its fixture `clore_sandbox` is there once the package is (pytest_plugin.py).
The marketplace is quick unless told otherwise: see `QUICK`.
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
"""No rate limits, and an order is listed and boots in a fifth of a second: a test asks for the
service's own pace where that is what it tests."""

_LOCAL = "127.0.0.1,localhost"


@contextlib.contextmanager
def marketplace(**options: Any) -> Generator[Sandbox, None, None]:  # noqa: ANN401 - Sandbox's own
    """A fresh marketplace on a free port; `options` are those of `Sandbox`, over `QUICK`.

    While it runs these variables are set, and as they were before once it has stopped:

    - `CLORE_BASE_URL`, `CLORE_API_KEY`: for the SDK, the CLI and any other client.
    - `CLORE_HOME`: an empty folder, so that no config, record or key of the user is touched.
    - `CLORE_REQUESTS_PER_SECOND`: many, where limits are off; else it is not set.
    - `CLORE_CONTROL_URL`, `CLORE_CONTROL_KEY`: for what is tested in other languages.
    - `NO_PROXY`: loopback is reached without a proxy.
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

    Options of `Sandbox` go into the class attribute `sandbox_options`.
    """

    sandbox: Sandbox
    sandbox_options: Mapping[str, Any] = {}

    def setUp(self) -> None:
        """Start it."""
        super().setUp()
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.sandbox = stack.enter_context(marketplace(**self.sandbox_options))
