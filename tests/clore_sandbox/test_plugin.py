"""The pytest plugin and unittest, each in a run of its own, as another project would use them."""

import os
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points

import pytest
import served

PLUGIN = "clore_sandbox.pytest_plugin"
ARGUMENTS = ["-q", "-p", PLUGIN, "-W", "error", "--strict-markers"]
PYTEST = f"import sys, pytest; sys.exit(pytest.main({ARGUMENTS}))"
UNITTEST = """
import unittest, warnings
warnings.simplefilter("error")
unittest.main(None, argv=["unittest", "-v"])
"""


def fresh(code, **options):
    """A Python that has imported nothing; the others have all packages, but not the plugin."""
    words = [sys.executable, "-c", code]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, **options)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs pytest over files in an empty project, with an ordinary user's environment."""
    for name in ("CLORE_HOME", "CLORE_API_KEY", "CLORE_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLORE_CONTEXT", "nobody-has-this")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # only ours; others take seconds
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    def go(test, code=PYTEST, conftest="", python=served.run):
        (tmp_path / "test_it.py").write_text(textwrap.dedent(test))
        (tmp_path / "conftest.py").write_text(textwrap.dedent(conftest))
        return python(code, cwd=tmp_path, env=dict(os.environ))

    return go


def test_the_entry_point_exists():
    (found,) = [e for e in entry_points(group="pytest11") if e.value.startswith("clore_sandbox")]
    assert (found.name, found.value) == (PLUGIN, PLUGIN)


def test_each_test_has_a_marketplace_and_an_environment(run):
    """The SDK, the CLI and `requests` all find it; the variables are gone afterwards."""
    done = run(
        """
        import os, subprocess, sys, time
        import pytest, requests
        from clore_ai import CloreAI

        seen = []

        def test_sdk_and_requests(clore_sandbox):
            seen.append((clore_sandbox.port, clore_sandbox.api_key))
            with CloreAI() as client:
                assert client.base_url == clore_sandbox.base_url
                server = client.marketplace()[0]
                coin = next(iter(server.usd_per_day()))
                started = time.monotonic()
                for _ in range(2):
                    order = client.create_order(server.id, "i", "on-demand", coin, ssh_password="x")
                    client.cancel_order(order.id)
                assert time.monotonic() - started < 5  # neither the pace nor its create pause
            answer = requests.get(
                os.environ["CLORE_BASE_URL"] + "/wallets",
                headers={"auth": os.environ["CLORE_API_KEY"]}, timeout=5,
            )
            assert answer.json()["code"] == 0
            answer = requests.get(
                os.environ["CLORE_CONTROL_URL"] + "/clock",
                headers={"auth": os.environ["CLORE_CONTROL_KEY"]}, timeout=5,
            )
            assert answer.json()["code"] == 0

        def test_cli(clore_sandbox):
            seen.append((clore_sandbox.port, clore_sandbox.api_key))
            done = subprocess.run([sys.executable, "-m", "clore_ai", "wallets", "--json"])
            assert done.returncode == 0
            assert not os.path.exists(os.path.expanduser("~/.clore"))

        def test_each_has_its_own():
            assert len(set(seen)) == 2
            assert "CLORE_BASE_URL" not in os.environ
            assert os.environ["CLORE_CONTEXT"] == "nobody-has-this"
            assert "NO_PROXY" not in os.environ
        """,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_options_come_from_the_fixture_and_the_marks(run):
    done = run(
        """
        import os, pytest

        pytestmark = pytest.mark.clore_sandbox(limits=True, dialect="live")

        @pytest.mark.clore_sandbox(dialect="reference", time_scale=5)
        def test_marks(clore_sandbox):
            assert clore_sandbox._settings.dialect == "reference"
            assert clore_sandbox.clock().speed == 5
            assert "CLORE_REQUESTS_PER_SECOND" not in os.environ
            assert clore_sandbox.wallet()["bitcoin"] == 7

        @pytest.mark.clore_sandbox("reference")
        def test_positional(clore_sandbox): ...
        """,
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def clore_sandbox_options():
            return {"balances": {"bitcoin": 7}, "provision": False}
        """,
    )
    assert "1 passed, 1 error" in done.stdout, done.stdout
    assert "takes keyword arguments only" in done.stdout


def test_the_session_wide_one_is_shared(run):
    done = run(
        """
        import os
        import pytest

        ports = set()

        @pytest.fixture(autouse=True)
        def as_new(clore_sandbox_session):
            clore_sandbox_session.reset()

        def test_one(clore_sandbox_session):
            ports.add(clore_sandbox_session.port)
            clore_sandbox_session.create_account()

        def test_two(clore_sandbox_session):
            ports.add(clore_sandbox_session.port)
            assert len(ports) == 1
            assert len(clore_sandbox_session.accounts()) == 1

        def test_beside_one_of_its_own(clore_sandbox_session, clore_sandbox):
            assert os.environ["CLORE_BASE_URL"] == clore_sandbox.base_url

        def test_and_back(clore_sandbox_session):
            assert os.environ["CLORE_BASE_URL"] == clore_sandbox_session.base_url
        """,
    )
    assert "4 passed" in done.stdout, done.stdout


def test_an_unused_plugin_imports_nothing(run):
    done = run(
        """
        import sys

        def test_it():
            for name in ("clore_sandbox.sandbox", "uvicorn", "asyncssh", "clore_ai", "httpx"):
                assert name not in sys.modules, name
        """,
        python=fresh,
    )
    assert "1 passed" in done.stdout, done.stdout


def test_without_the_extra_the_plugin_says_so(run):
    """The plugin is loaded in every run, also if the marketplace's packages are missing."""
    done = run(
        """
        def test_other(): ...
        def test_it(clore_sandbox): ...
        """,
        conftest="""
        import sys
        sys.modules["uvloop"] = None  # as if it were not installed
        """,
        python=fresh,
    )
    assert "1 passed, 1 error" in done.stdout, done.stdout
    assert "pip install '.[sandbox]'" in done.stdout
    assert "Traceback" not in done.stdout


def test_unittest(run):
    done = run(
        """
        import os, unittest
        from clore_ai import CloreAI
        from clore_sandbox.testing import SandboxTestCase, marketplace

        class TestRental(SandboxTestCase):
            sandbox_options = {"provision": False}

            def test_it(self):
                with CloreAI() as client:
                    self.assertEqual(len(client.wallets()), 3)
                self.assertEqual(self.sandbox.journal()[-1].endpoint, "wallets")

        class TestByHand(unittest.TestCase):
            def test_it(self):
                with marketplace(provision=False) as sandbox:
                    self.assertEqual(os.environ["CLORE_API_KEY"], sandbox.api_key)
                self.assertNotIn("CLORE_API_KEY", os.environ)
        """,
        UNITTEST,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr
