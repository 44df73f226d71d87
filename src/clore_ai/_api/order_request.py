"""The request for an order, checked when it is made.

Only requests that the service is known to refuse are refused here, with a correct example
(service.md, 3). Everything else is left to the service. Pure.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from clore_ai._values.public_key import is_public
from clore_ai._values.secrets import hide
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_ai.models import OrderType

MAX_SSH_PASSWORD = 32
MAX_SSH_KEY = 3072
MAX_JUPYTER_TOKEN = 32
MAX_ENV_JSON = 12288
MAX_ENV_KEY = 128
MAX_ENV_VALUE = 1536
_MAX_PORT = 65535
_SECRETS = ("ssh_password", "env", "jupyter_token", "command", "dockerhub_auth")


@dataclass(frozen=True)
class OrderRequest:
    """A request for one order; the fields are 004's arguments of `create_order`.

    Raises:
        InvalidInputError: the service would refuse it; the message says what to give instead.
    """

    server_id: int
    image: str
    type: OrderType
    currency: str
    ssh_password: str | None = field(default=None, repr=False)
    ssh_key: str | None = field(default=None, repr=False)
    ports: Mapping[str, str] | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    jupyter_token: str | None = field(default=None, repr=False)
    command: str | None = field(default=None, repr=False)
    spot_price: float | None = None
    """The bid, in `currency` per **day**."""
    required_price: float | None = None
    """The list price that the user saw, in `currency` per **day**."""
    autossh_entrypoint: str | bool | None = None
    dockerhub_auth: str | dict[str, str] | None = field(default=None, repr=False)
    remember_password: bool | None = None

    def __post_init__(self) -> None:
        if not self.image.strip():
            _refuse('image is empty; give a Docker image, e.g. "cloreai/ubuntu22.04-cuda12"')
        if not self.currency.strip():
            _refuse('currency is empty; give "bitcoin", "CLORE-Blockchain" or "USD-Blockchain"')
        if self.type not in ("on-demand", "spot"):
            _refuse(f'type must be "on-demand" or "spot", not {self.type!r}')
        if self.type == "spot" and self.spot_price is None:
            _refuse("a spot order needs spot_price: your bid in coin per day for the whole server")
        if self.type != "spot" and self.spot_price is not None:
            _refuse(
                'spot_price goes with type="spot"; for on-demand, required_price fixes the price'
            )
        for name in ("spot_price", "required_price"):
            price: float | None = getattr(self, name)
            if price is not None and not 0 < price < float("inf"):
                _refuse(f"{name} must be a number above 0, not {price!r}")
        if self.ssh_password == "":
            _refuse("ssh_password is empty")
        check_length("ssh_password", self.ssh_password, MAX_SSH_PASSWORD)
        check_length("jupyter_token", self.jupyter_token, MAX_JUPYTER_TOKEN)
        ports = {str(port): kind for port, kind in (self.ports or {}).items()}
        key = None if self.ssh_key is None else hide(self.ssh_key.strip())
        _check_key(key)
        _check_ports(ports)
        _check_env(self.environment)
        kept = {name: hide(getattr(self, name)) for name in _SECRETS}
        for name, value in {**kept, "ssh_key": key, "ports": ports}.items():
            object.__setattr__(self, name, value)

    @property
    def price_per_day(self) -> float | None:
        """The agreed price, in `currency` per **day**: the bid, or `required_price`."""
        return self.spot_price if self.type == "spot" else self.required_price

    def at(self, per_day: float) -> OrderRequest:
        """The same request at this price, in `currency` per **day**; see `price_per_day`."""
        if self.type == "spot":
            return replace(self, spot_price=per_day)
        return replace(self, required_price=per_day)

    @property
    def environment(self) -> dict[str, str]:
        """`env`, which takes precedence, and the variables that official images read at start-up.

        A login with '&' is omitted: the service accepts it as a field, but fails on it in `env`.
        """
        logins = {"SSH_PASSWORD": self.ssh_password, "JUPYTER_TOKEN": self.jupyter_token}
        return {k: v for k, v in logins.items() if v and "&" not in v} | dict(self.env or {})


def check_length(name: str, text: str | None, most: int) -> None:
    """Refuse a text that is longer than the service accepts.

    Raises:
        InvalidInputError: it is longer than `most`.
    """
    if text is not None and len(text) > most:
        _refuse(f"{name} is {len(text)} characters long; {most} at most")


def _check_key(key: str | None) -> None:
    if key is None:
        return
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
    check_length("ssh_key", key, MAX_SSH_KEY)


def _check_ports(ports: Mapping[str, str]) -> None:
    for port, kind in ports.items():
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= _MAX_PORT):
            _refuse(f"port {port!r} is not a number from 1 to {_MAX_PORT}")
        if kind not in ("tcp", "http"):
            _refuse(f'port {port} must be "tcp" or "http", not {kind!r}, e.g. {{"22": "tcp"}}')
    http = [port for port, kind in ports.items() if kind == "http"]
    if len(http) > 1:
        _refuse(
            f"only one http port is allowed per order, but {', '.join(http)} are given; make the "
            "others tcp"
        )


def _check_env(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without types
            _refuse(f"env {name} must be a string, not {type(value).__name__}")
        if not name or "=" in name or "\0" in name + value:
            _refuse(f"env {name!r} is not a valid name")
        check_length(f"env name {name[:20]}…", name, MAX_ENV_KEY)
        check_length(f"env {name}", value, MAX_ENV_VALUE)
        if "&" in value:  # seen: HTTP 500, code 1 (service.md, 1)
            _refuse(
                f"env {name} contains '&', which the service can't process; encode the value, "
                "e.g. as base64, and decode it in the command"
            )
    if env and len(json.dumps(env)) >= MAX_ENV_JSON:
        _refuse(f"env is too long: as JSON it must stay under {MAX_ENV_JSON} characters")


def _refuse(message: str) -> None:
    raise InvalidInputError(message + ".", 2)
