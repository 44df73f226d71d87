"""The sources of the key and the address, and the promise that the key goes nowhere else (004)."""

from __future__ import annotations

import json
import logging
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import clore_ai
from clore_ai import AsyncCloreAI, CloreAI, config
from clore_ai.exceptions import AuthError, CloreAPIError, ConfigError
from clore_client import CloreClient

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS = [CloreAI, AsyncCloreAI, CloreClient]
SECRET = "k3y-that-nobody-may-see"


def write(home: Path, content: object) -> Path:
    home.mkdir(exist_ok=True)
    file = home / "config.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


@pytest.mark.parametrize("client", CLIENTS)
def test_the_key_is_argument_then_environment_then_file(client, home, monkeypatch):
    """The order is 004's, in the constructors too; blank values count as missing."""
    assert client().api_key is None
    write(home, {"api_key": "from-file"})
    assert client().api_key == "from-file"
    monkeypatch.setenv("CLORE_API_KEY", "from-environment")
    assert client().api_key == "from-environment"
    assert client(api_key="from-argument").api_key == "from-argument"
    assert client(api_key=" ").api_key == "from-environment"
    monkeypatch.setenv("CLORE_API_KEY", "\n")
    assert client(api_key="").api_key == "from-file"


@pytest.mark.parametrize("client", [CloreAI, AsyncCloreAI])
def test_the_address_is_argument_then_environment_then_file(client, home, monkeypatch):
    """Without any of them the address is that of the real service."""
    assert client().base_url == "https://api.clore.ai/v1"
    write(home, {"base_url": "http://file/v1"})
    assert client().base_url == "http://file/v1"
    monkeypatch.setenv("CLORE_BASE_URL", "http://environment/v1/")
    assert client().base_url == "http://environment/v1"
    assert client(base_url=" http://argument/v1/ ").base_url == "http://argument/v1"


def test_the_source_of_the_key_is_known(home, monkeypatch):
    """An error about the key can name its source."""
    assert config.resolve().api_key_source is None
    file = write(home, {"api_key": "k"})
    assert config.resolve().api_key_source == str(file)
    monkeypatch.setenv("CLORE_API_KEY", "k")
    assert config.resolve().api_key_source == "CLORE_API_KEY"
    assert config.resolve("k").api_key_source == "the argument"


def test_the_pace_can_be_set(home, monkeypatch):
    """The environment or the file sets it; it must be a number above 0."""
    assert CloreAI().rate_limiter.min_interval == 1
    write(home, {"requests_per_second": 4})
    assert CloreAI().rate_limiter.min_interval == 0.25
    monkeypatch.setenv("CLORE_REQUESTS_PER_SECOND", "10")
    assert CloreAI().rate_limiter.min_interval == 0.1
    for bad in ("0", "-1", "nan", "inf", "fast"):
        monkeypatch.setenv("CLORE_REQUESTS_PER_SECOND", bad)
        with pytest.raises(ConfigError, match="above 0"):
            CloreAI()


def test_a_context_overlays_the_settings(home, monkeypatch):
    """CLORE_CONTEXT selects the context, else the setting `context`."""
    content = {
        "api_key": "plain",
        "contexts": {"a": {"api_key": "key-a", "base_url": "http://a/v1"}, "b": {}},
    }
    write(home, content)
    assert CloreAI().api_key == "plain"
    write(home, {**content, "context": "a"})
    assert (CloreAI().api_key, CloreAI().base_url) == ("key-a", "http://a/v1")
    monkeypatch.setenv("CLORE_CONTEXT", "b")
    assert (CloreAI().api_key, CloreAI().base_url) == ("plain", config.DEFAULT_BASE_URL)
    monkeypatch.setenv("CLORE_CONTEXT", "c")
    with pytest.raises(ConfigError, match=r"'c'.*known: a, b"):
        CloreAI()


@pytest.mark.parametrize("content", ["{", "", "[]", '"text"', "null", "\x00", "[" * 100_000])
def test_a_damaged_file_is_named(content, home):
    """The error is one sentence with the file's name and the next step, without a traceback."""
    file = write(home, content)
    for client in CLIENTS:
        with pytest.raises(ConfigError) as caught:
            client()
        assert str(file) in str(caught.value)
        assert "config set api_key" in str(caught.value) or '{"api_key"' in str(caught.value)


def test_a_file_in_another_encoding_is_damaged(home):
    """It cannot be read as JSON."""
    write(home, "").write_bytes(b"\xff\xfe{\x00")
    with pytest.raises(ConfigError, match="not valid JSON"):
        CloreAI()


def test_a_damaged_file_is_not_read_unless_needed(home):
    """With the key and the address as arguments the file is not read."""
    write(home, "{")
    assert CloreAI("k", "http://h/v1").api_key == "k"
    with pytest.raises(ConfigError):  # the file may hold the address: don't send the key elsewhere
        CloreAI("k")


def test_a_path_that_cannot_be_read_is_named(home):
    """It may be a folder in place of the file, or a file in place of the folder."""
    (home / "config.json").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"config\.json can't be read"):
        CloreAI()


def test_a_file_in_place_of_the_folder(home):
    """CLORE_HOME must be a folder."""
    home.write_text("")
    with pytest.raises(ConfigError, match="can't be read"):
        CloreAI()
    with pytest.raises(ConfigError, match=r"config\.json"):
        config.store("api_key", "k")


def test_a_user_without_a_home_folder():
    """In a container the environment is enough; storing a key needs CLORE_HOME."""
    code = (
        "import os\n"
        "from clore_ai import CloreAI, config\n"
        "from clore_ai.exceptions import ConfigError\n"
        "os.environ.pop('HOME', 0)\n"
        "try: os.setuid(54321)\n"
        "except PermissionError: raise SystemExit('not root')\n"
        "assert config.resolve().api_key == 'k'\n"
        "try: config.store('api_key', 'x')\n"
        "except ConfigError as exc: assert 'CLORE_HOME' in str(exc)\n"
        "else: raise SystemExit('stored')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"CLORE_API_KEY": "k", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "not root" in done.stderr:
        pytest.skip("only root can become a user without a home folder")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "api.clore.ai",
        "ftp://h/v1",
        "http://",
        "http://[",
        "http://h:99999",
        "http://h:x",
        "http://h/v1?key=1",
        "http://h/v1#x",
        "x",
    ],
)
def test_an_invalid_base_url_is_refused(url):
    """The error shows a valid one and where to set it."""
    with pytest.raises(ConfigError, match=r"looks like https://api\.clore\.ai/v1.*CLORE_BASE_URL"):
        CloreAI("k", url)


@pytest.mark.parametrize("key", ["two words", "tab\tbed", "line\nbreak", "kéy", "\x00"])
def test_an_invalid_key_is_refused_without_showing_it(key):
    """It would break the header."""
    with pytest.raises(ConfigError) as caught:
        CloreAI(key)
    assert key not in str(caught.value)
    assert CloreAI(" pasted\n").api_key == "pasted"


def test_stored_files_are_private(home):
    """They are 0600 in a 0700 folder, whatever they were before; other settings stay."""
    file = config.store("api_key", SECRET)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    file.chmod(0o644)
    home.chmod(0o755)
    config.store("base_url", "http://h/v1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert json.loads(file.read_text()) == {"api_key": SECRET, "base_url": "http://h/v1"}
    assert [p.name for p in home.iterdir()] == ["config.json"]


def test_store_and_remove(home):
    """None removes a setting; storing creates a context; invalid values are refused."""
    config.store("api_key", "a", context="local")
    config.store("context", "local")
    assert CloreAI().api_key == "a"
    config.store("context", None)
    assert CloreAI().api_key is None
    for key, value in [("colour", "x"), ("base_url", "x"), ("requests_per_second", "0")]:
        with pytest.raises(ConfigError):
            config.store(key, value)
    with pytest.raises(ConfigError, match="config set --context gone api_key"):
        config.store("context", "gone")
    assert config.load() == {"contexts": {"local": {"api_key": "a"}}}


def test_a_damaged_file_is_not_overwritten(home):
    """It may hold the only copy of a key."""
    file = write(home, "{ my notes")
    with pytest.raises(ConfigError):
        config.store("api_key", "k")
    assert file.read_text() == "{ my notes"


def test_without_a_key_nothing_is_sent(home):
    """AuthError is raised before any connection: nothing listens at this address."""
    client = CloreAI(base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(AuthError) as caught:
        client.wallets()
    assert caught.value.code == 3
    with pytest.raises(CloreAPIError, match="can't reach"):
        client.marketplace()


@pytest.mark.parametrize("client", CLIENTS)
def test_the_key_is_in_no_repr_error_or_log(client, home, caplog):
    """The key is never printed, raised or logged, at any level."""
    caplog.set_level(logging.DEBUG)
    it = client(SECRET)
    seen = [repr(it), str(it), repr(config.resolve(SECRET))]
    blocking = CloreAI(SECRET, "http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(CloreAPIError) as caught:
        blocking.wallets()
    seen += [repr(blocking), str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
    seen += [repr(blocking.session), repr(blocking.ledger.intents())]
    seen += [record.getMessage() for record in caplog.records]
    assert not [text for text in seen if SECRET in text]


def test_all_settings_are_documented():
    """The version is a string, and the package lists its exports."""
    assert clore_ai.__version__.count(".") >= 1
    assert config.SECRETS == ("api_key",)
    assert set(config.SECRETS) < set(config.SETTINGS)


def test_a_context_with_an_address_takes_no_key_from_outside(home, monkeypatch):
    """The key of one service is never sent to another service that a context names."""
    home.mkdir(exist_ok=True)
    content = {"api_key": "REAL", "contexts": {"local": {"base_url": "http://127.0.0.1:1/v1"}}}
    (home / "config.json").write_text(json.dumps(content))
    monkeypatch.setenv("CLORE_CONTEXT", "local")
    settings = config.resolve()
    assert settings.base_url == "http://127.0.0.1:1/v1"
    assert settings.api_key is None
