"""What `create_order` refuses before it is sent, with what to give instead (service.md, 3).

Only what the service is documented or was seen to refuse; what it merely might is left to it.
"""

from __future__ import annotations

import json
import re
from math import inf
from typing import TYPE_CHECKING, Any

from clore_ai._ssh.key_pairs import is_public
from clore_ai._values.secrets import hide
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SSH_PASSWORD = 32
MAX_SSH_KEY = 3072
MAX_JUPYTER_TOKEN = 32
MAX_ENV_JSON = 12288
MAX_ENV_KEY = 128
MAX_ENV_VALUE = 1536
MAX_ISSUE = 2048
_MAX_PORT = 65535


def order_body(
    *,
    server_id: int,
    image: str,
    type: str,  # noqa: A002 - 004's word
    currency: str,
    ssh_password: str | None = None,
    ssh_key: str | None = None,
    ports: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    jupyter_token: str | None = None,
    command: str | None = None,
    spot_price: float | None = None,
    required_price: float | None = None,
    autossh_entrypoint: str | bool | None = None,
    dockerhub_auth: str | dict[str, str] | None = None,
    remember_password: bool | None = None,
) -> dict[str, Any]:
    """The body of ``POST create_order``.

    Raises:
        InvalidInputError: the service would refuse it; the message says what to give instead.
    """
    if not image.strip():
        _refuse('image is empty; give a Docker image, e.g. "cloreai/ubuntu22.04-cuda12"')
    if not currency.strip():
        _refuse('currency is empty; give "bitcoin", "CLORE-Blockchain" or "USD-Blockchain"')
    if type not in ("on-demand", "spot"):
        _refuse(f'type must be "on-demand" or "spot", not {type!r}')
    if type == "spot" and spot_price is None:
        _refuse("a spot order needs spot_price: your bid in coin per day for the whole server")
    if type != "spot" and spot_price is not None:
        _refuse('spot_price goes with type="spot"; for on-demand, required_price fixes the price')
    for name, price in (("spot_price", spot_price), ("required_price", required_price)):
        if price is not None and not 0 < price < float("inf"):
            _refuse(f"{name} must be a number above 0, not {price!r}")
    _login(ssh_password, ssh_key)
    _length("jupyter_token", jupyter_token, MAX_JUPYTER_TOKEN)
    checked_ports = _ports(ports)
    _env(_with_logins(env or {}, ssh_password, jupyter_token))
    given = {
        "ports": checked_ports or None,
        "env": hide(_with_logins(env or {}, ssh_password, jupyter_token)) or None,
        "ssh_password": ssh_password,
        "ssh_key": hide(ssh_key.strip()) if ssh_key else None,
        "jupyter_token": jupyter_token,
        "command": command,
        "spotprice": spot_price,
        "required_price": required_price,
        "autossh_entrypoint": autossh_entrypoint,
        "dockerhub_auth": dockerhub_auth,
        "remember_password": remember_password,
    }
    body: dict[str, Any] = {
        "currency": currency,
        "image": image,
        "renting_server": server_id,
        "type": type,
    }
    return body | {name: value for name, value in given.items() if value is not None}


def limits(lease_h: float | None, max_cost_usd: float | None) -> None:
    """A lease and a limit of cost, where given, are numbers above 0."""
    for name, value in (("lease_h", lease_h), ("max_cost_usd", max_cost_usd)):
        if value is not None and not 0 < value < inf:
            _refuse(f"{name} must be a number above 0, not {value!r}; leave it out for no limit.")


def issue(text: str | None) -> None:
    """Refuse a cancellation reason that is too long (`issue_description_too_long`).

    Raises:
        InvalidInputError: over 2,048 characters.
    """
    _length("issue", text, MAX_ISSUE)


def _login(ssh_password: str | None, ssh_key: str | None) -> None:
    if ssh_password == "":
        _refuse("ssh_password is empty")
    _length("ssh_password", ssh_password, MAX_SSH_PASSWORD)
    if ssh_key is None:
        return
    key = hide(ssh_key.strip())
    if "PRIVATE KEY" in key:
        _refuse(
            "ssh_key is a private key; never send it. Give the public one, "
            "the content of the file whose name ends in .pub"
        )
    if "\n" not in key and (key.startswith(("/", "~", ".")) or re.fullmatch(r"\S+", key)):
        _refuse(
            "ssh_key is not a public key; give its content, "
            'e.g. Path("~/.ssh/id_ed25519.pub").expanduser().read_text()'
        )
    if not is_public(key):
        _refuse('ssh_key must be one public key, such as "ssh-ed25519 AAAA… you@host"')
    _length("ssh_key", key, MAX_SSH_KEY)


def _with_logins(
    env: Mapping[str, str], ssh_password: str | None, jupyter_token: str | None
) -> dict[str, str]:
    """What official images read at their start; a variable that the user gave stays.

    A value with '&' is left out: the service takes it as a field, and fails on it in `env`.
    """
    logins = {"SSH_PASSWORD": ssh_password, "JUPYTER_TOKEN": jupyter_token}
    return {k: v for k, v in logins.items() if v and "&" not in v} | dict(env)


def _ports(ports: Mapping[str, str] | None) -> dict[str, str]:
    checked = {str(port): kind for port, kind in (ports or {}).items()}
    for port, kind in checked.items():
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= _MAX_PORT):
            _refuse(f"port {port!r} is not a number from 1 to {_MAX_PORT}")
        if kind not in ("tcp", "http"):
            _refuse(f'port {port} must be "tcp" or "http", not {kind!r}, e.g. {{"22": "tcp"}}')
    http = [port for port, kind in checked.items() if kind == "http"]
    if len(http) > 1:
        _refuse(f"only one http port an order; {', '.join(http)} are given. Make the others tcp")
    return checked


def _env(env: Mapping[str, str] | None) -> None:
    for name, value in (env or {}).items():
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without types
            _refuse(f"env {name} must be a text, not {type(value).__name__}")
        if not name or "=" in name or "\0" in name + value:
            _refuse(f"env {name!r} is not a name")
        _length(f"env name {name[:20]}…", name, MAX_ENV_KEY)
        _length(f"env {name}", value, MAX_ENV_VALUE)
        if "&" in value:  # seen: HTTP 500, code 1 (service.md, 1)
            _refuse(
                f"env {name} holds '&', on which the service fails; "
                "encode the value, e.g. as base64, and decode it in the command"
            )
    if env and len(json.dumps(dict(env))) >= MAX_ENV_JSON:
        _refuse(f"env is too long: as JSON it must stay under {MAX_ENV_JSON} characters")


def _length(name: str, text: str | None, limit: int) -> None:
    if text is not None and len(text) > limit:
        _refuse(f"{name} is {len(text)} characters long; {limit} at most")


def _refuse(message: str) -> None:
    raise InvalidInputError(message + ".", 2)
