"""`clore config` stores settings with mode 0600, and shows only the last characters of secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.driver import Clore, Renter


def test_set_get_and_show(new_user: Clore) -> None:
    """As in document 004: the key is masked without --reveal, the file is 0600 in a 0700 folder."""
    new_user.secrets = ["secret-key-abcd"]
    said = new_user("config", "set", "api_key", "secret-key-abcd")
    file = new_user.home / "config.json"
    assert said.out == ""
    assert str(file) in said.err
    assert json.loads(file.read_text()) == {"api_key": "secret-key-abcd"}
    assert (file.stat().st_mode & 0o777, new_user.home.stat().st_mode & 0o777) == (0o600, 0o700)
    assert new_user("config", "get", "api_key").out == "…abcd\n"
    assert new_user("config", "show").out == "Setting\tValue\napi_key\t…abcd\n"
    assert new_user("config", "show", "--json").data == {"api_key": "…abcd"}
    new_user.secrets = []
    assert new_user("config", "get", "api_key", "--reveal").out == "secret-key-abcd\n"


def test_a_key_from_stdin(new_user: Clore) -> None:
    """Without a value it is read from stdin, so that no process list and no history holds it."""
    new_user.secrets = ["from-stdin-key-wxyz"]
    new_user("config", "set", "api_key", stdin="from-stdin-key-wxyz\n")
    assert new_user("config", "get", "api_key", "--json").data == {"api_key": "…wxyz"}
    new_user("config", "set", "api_key", stdin="", fails=2)
    assert new_user("config", "get", "api_key").out == "…wxyz\n"


def test_unknown_and_unset_settings(new_user: Clore) -> None:
    """An unknown name is exit 2 and lists the known names; a setting that is not set is exit 4."""
    assert "Settings: api_key" in new_user("config", "set", "colour", "red", fails=2).err
    assert "Settings: api_key" in new_user("config", "get", "colour", fails=2).err
    error = new_user("config", "get", "api_key", "--json", fails=4).error
    assert error["code"] == "not_found"
    assert "clore config set api_key" in error["message"]
    assert "not a base URL" in new_user("config", "set", "base_url", "nowhere", fails=2).err
    assert not (new_user.home / "config.json").exists()


@pytest.mark.parametrize(
    ("key", "said"), [("wrong", ". "), ("wrong-key-1234", " and ends in …1234. ")]
)
def test_a_refused_key_is_named_by_its_last_characters(renter: Renter, key: str, said: str) -> None:
    """A key too short to show any part of is named by its source alone. The advice fits it."""
    advice = "clore config set api_key\n"
    err = renter.with_(CLORE_API_KEY=key)("orders", fails=3).err
    assert f"It came from CLORE_API_KEY{said}Correct it there, or unset it and run: {advice}" in err
    user = renter.with_(CLORE_API_KEY="")
    user("config", "set", "api_key", stdin=key)
    assert f"config.json{said}Set the right one with: {advice}" in user("orders", fails=3).err


def test_contexts(renter: Renter) -> None:
    """A context is a named set of settings; an explicit --context overrides the environment."""
    user = renter.with_(CLORE_API_KEY="wrong-key-in-the-environment", CLORE_BASE_URL="")
    user.home.mkdir()
    there = renter.env["CLORE_BASE_URL"]
    user("config", "set", "--context", "here", "api_key", stdin=renter.key)
    user("config", "set", "--context", "here", "base_url", there)
    shown = user("config", "show")
    assert f"here: base_url\t{there}" in shown.out
    elsewhere = user.with_(CLORE_BASE_URL="http://127.0.0.1:9/v1")
    assert elsewhere("--context", "here", "wallets").out.startswith("Coin\t")
    assert "no context 'there'" in user("--context", "there", "wallets", fails=2).err
    user("config", "set", "context", "there", fails=2)
    user("config", "set", "context", "here")
    assert user.with_(CLORE_API_KEY="")("wallets").out.startswith("Coin\t")


def test_ssh_options_are_checked_and_explained(new_user: Clore) -> None:
    """Options that OpenSSH or clore cannot take are refused; the rest come with a warning."""
    done = new_user("config", "set", "ssh_options", "-J me@host.example -o Compression=yes")
    assert "which belongs to a stranger" in done.err
    assert new_user("config", "get", "ssh_options").out.startswith("-J me@host.example")
    for value in ("-J x -A y", "-o NoSuchOption=yes", "-o Port=many", "host", "-J ' h"):
        assert "ssh" in new_user("config", "set", "ssh_options", value, fails=2).err
    assert "host.example" in new_user("config", "get", "ssh_options").out
