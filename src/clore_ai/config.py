"""Resolves the key and the address: argument, then environment, then config file (004).

One resolver serves the SDK and the command line. The file is ``$CLORE_HOME/config.json``
(``~/.clore/config.json``): 0600 in a 0700 folder. Besides its plain settings it may hold named
contexts, each a set of the same settings, chosen by ``CLORE_CONTEXT`` or the setting `context`::

    {"api_key": "…", "contexts": {"local": {"api_key": "…", "base_url": "http://127.0.0.1:8000/v1"}}}
"""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import urlsplit

from clore_ai._ssh.target import check_options, read_options
from clore_ai._state.folder import private_folder, read_private, state_folder, write_private
from clore_ai._values.kinds import as_dict
from clore_ai._values.secrets import conceal, hide
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_BASE_URL = "https://api.clore.ai/v1"
SETTINGS = ("api_key", "base_url", "context", "requests_per_second", "ssh_options")
SECRETS = ("api_key",)
_PASSWORD = re.compile(r"//[^/]*@")


@dataclass(frozen=True)
class Settings:
    """The settings by which a client reaches the service, and the source of the key."""

    api_key: str | None = field(repr=False)
    api_key_source: str | None
    base_url: str
    requests_per_second: float
    ssh_options: tuple[str, ...] = ()
    """Options for all connections to rented machines, as ``-o`` pairs."""


def config_file() -> Path:
    """The config file's path. It may not exist yet."""
    return state_folder() / "config.json"


def resolve(api_key: str | None = None, base_url: str | None = None) -> Settings:
    """The settings in force: argument > environment > file > default.

    Raises:
        ConfigError: the file is needed but can't be read, or a setting is invalid.
    """
    api_key = hide(api_key)
    key, source = _given(api_key), "the argument"
    if not key:
        key, source = _given(os.environ.get("CLORE_API_KEY")), "CLORE_API_KEY"
    key = hide(key)
    url = _given(base_url) or _given(os.environ.get("CLORE_BASE_URL"))
    rate: object = os.environ.get("CLORE_REQUESTS_PER_SECOND")
    try:
        values = in_force(load())
    except ConfigError:
        if not (key and url):  # the file may hold the missing setting: don't guess
            raise
        values = {}
    if not key and values.get("api_key"):
        key, source = hide(str(values["api_key"])), str(config_file())
    url = url or values.get("base_url") or DEFAULT_BASE_URL
    rate = rate or values.get("requests_per_second") or 1
    key = _clean_key(key, source)
    return Settings(
        key,
        source if key else None,
        _clean_url(str(url)),
        _clean_rate(str(rate)),
        read_options(str(values.get("ssh_options") or "")),
    )


def changed(settings: Settings, api_key: str | None, base_url: str) -> Settings:
    """The same settings with another key or address, checked as `resolve` checks them.

    Raises:
        ConfigError: one of them is invalid.
    """
    key = _clean_key(hide(_given(hide(api_key))), "the argument")
    return replace(
        settings,
        api_key=key,
        api_key_source="the argument" if key else None,
        base_url=_clean_url(base_url.strip()),
    )


def _given(text: str | None) -> str | None:
    """`text` without surrounding white space; None if nothing is left."""
    return (text or "").strip() or None


def load() -> dict[str, Any]:
    """The config file's content; empty if there is no file, or no home folder.

    Raises:
        ConfigError: it can't be read or is not a JSON object.
    """
    try:
        path = config_file()
    except ConfigError:
        return {}
    try:
        _own(path)
        content = conceal(as_dict(json.loads(read_private(path).decode("utf-8"))))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as exc:
        raise ConfigError(
            f"{path} is not valid JSON ({exc}). Fix it, or move it away and run: "
            "clore config set api_key"
        ) from exc.with_traceback(None)  # its frames hold the file's text
    except OSError as exc:
        raise ConfigError(f"{path} can't be read: {exc.strerror}.") from exc
    if content is None:
        raise ConfigError(f'{path} must hold a JSON object such as {{"api_key": "…"}}.')
    return content


def _own(path: Path) -> None:
    """Only the user or root may own the file, since it decides where the key is sent."""
    if hasattr(os, "geteuid") and path.stat().st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{path} belongs to another user, who could redirect your key to another server. "
            "Take it over (chown), or set CLORE_HOME to a folder of your own."
        )


def in_force(content: dict[str, Any]) -> dict[str, Any]:
    """The file's settings with those of the chosen context on top.

    A context with its own address takes no key from outside: the key of one service is never sent
    to another.

    Raises:
        ConfigError: ``CLORE_CONTEXT`` or `context` names a context that the file does not define.
    """
    name = os.environ.get("CLORE_CONTEXT") or content.get("context")
    if not name:
        return content
    contexts = _contexts(content)
    if name not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        raise ConfigError(f"{config_file()} has no context {name!r} (known: {known}).")
    chosen = contexts[name]
    outside = {k: v for k, v in content.items() if k != "api_key" or "base_url" not in chosen}
    return {**outside, **chosen}


def store(key: str, value: str | None, context: str | None = None) -> Path:
    """Write one setting (None removes it) and return the file's path. Others stay as they are.

    The file is replaced in one step, with mode 0600, in a folder of mode 0700.

    Raises:
        ConfigError: unknown setting, unusable value, or the file can't be written.
    """
    if key not in SETTINGS or (context and key == "context"):
        raise ConfigError(f"There is no setting {key!r}. Settings: {', '.join(SETTINGS)}.")
    if key in SECRETS:
        value = hide(value)
    if value is not None:
        checks: dict[str, Callable[[str], object]] = {
            "base_url": _clean_url,
            "requests_per_second": _clean_rate,
            "ssh_options": check_options,
        }
        if key in checks:
            checks[key](value)
        if key == "api_key":
            value = _clean_key(value, "the value given")
    content = load()
    if key == "context" and value is not None and value not in _contexts(content):
        raise ConfigError(
            f"There is no context {value!r} yet. Create it: "
            f"clore config set --context {shlex.quote(value)} api_key"
        )
    target = content
    if context:
        contexts = _contexts(content)
        content["contexts"] = contexts
        target = contexts.setdefault(context, {})
    if value is None:
        target.pop(key, None)
    else:
        target[key] = value
    path = config_file()
    try:
        private_folder(path.parent)
        write_private(path, json.dumps(content, indent=2) + "\n")
    except OSError as exc:
        raise ConfigError(f"{path} can't be written: {exc.strerror}.") from exc
    return path


def _contexts(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    contexts = as_dict(content.get("contexts")) or {}
    return {name: values for name, v in contexts.items() if (values := as_dict(v)) is not None}


def _clean_key(key: str | None, source: str | None) -> str | None:
    """A key that fits in a header, without the white space around a pasted key."""
    if key is None:
        return None
    key = hide(key.strip())
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"The API key from {source} contains characters that no key has. Paste the key alone."
        )
    return key or None


def _clean_url(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        usable = usable and not (parts.query or parts.fragment or "@" in parts.netloc)
    except ValueError:  # an invalid port or IPv6 address
        usable = False
    if not usable:
        raise ConfigError(
            f"{_PASSWORD.sub('//***@', url)!r} is not a base URL; it looks like {DEFAULT_BASE_URL} "
            "(argument base_url, CLORE_BASE_URL, or: clore config set base_url URL)."
        )
    return url.strip().rstrip("/")


def _clean_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1e6:  # noqa: PLR2004 - a bound against nan and inf, nothing else
        raise ConfigError(f"requests_per_second must be a number above 0, not {text!r}.")
    return rate
