"""No test reads a file, key or setting of the developer, or reaches another host than loopback."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import flows
import httpx
import places
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A run started in the background ignores Ctrl-C, and all its child processes would too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Under nohup, SIGHUP is ignored.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes depends on what else the machine does.
settings.register_profile("busy", deadline=None, max_examples=40)
settings.load_profile("busy")

_OURS = ("CLORE_INVENTORY", "CLORE_DOCUMENTS")
_THEIRS = ("CLORE_", "GIT_", "SSH_", "XDG_", "NETRC", "CURL_HOME")
_NOTHING = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that may take minutes start first, or all others would wait for them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_collection_finish() -> None:
    """The tests themselves are permanent, so the garbage collector need not scan them again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(autouse=True, scope="session")
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            proxy = name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
            if proxy or (name.startswith(_THEIRS) and name not in _OURS):
                patch.delenv(name)
        home = tmp_path_factory.mktemp("home")
        for name, value in {**_NOTHING, "HOME": str(home)}.items():
            patch.setenv(name, value)
        patch.setenv("CLORE_HOME", str(home / ".clore"))
        patch.setenv("PATH", f"{_programs(home)}{os.pathsep}{os.environ['PATH']}")
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_tls_context() -> Iterator[None]:
    """Each httpx client reads the trusted certificates, 40 ms; no test here needs them."""
    with pytest.MonkeyPatch.context() as patch:
        once = lru_cache(maxsize=None)(httpx.create_ssl_context)
        patch.setattr("httpx._transports.default.create_ssl_context", once)
        yield


@pytest.fixture(autouse=True, scope="session")
def _flows_do_no_io() -> None:
    flows.watch()


def _programs(home: Path) -> Path:
    """A folder with an OpenSSH that reads no configuration, as it takes its home from passwd."""
    folder = home / "programs"
    folder.mkdir()
    for name in ("ssh", "scp", "sftp"):
        real = shutil.which(name)
        if real is not None:
            line = f'exec -a {name} {real} -F none "$@"'  # under its own name in the process list
            (folder / name).write_text(f"#!{shutil.which('bash')}\n{line}\n", "utf-8")
            (folder / name).chmod(0o700)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own; it does not exist yet."""
    folder = tmp_path / ".clore"
    monkeypatch.setenv("CLORE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def inventory_file() -> Path:
    """The captured body of 3,500 real servers."""
    path = places.inventory()
    if path is None or not path.is_file():
        pytest.skip("no captured inventory: set CLORE_INVENTORY to a marketplace body")
    return path


@pytest.fixture(scope="session")
def real_servers(inventory_file: Path) -> list[dict[str, Any]]:
    """The records of these servers, raw; not to be changed."""
    servers: list[dict[str, Any]] = json.loads(inventory_file.read_bytes())["servers"]
    return servers
