"""A rental, from any known form of the answer (``GET my_orders``; 004, `Order`; service.md, 3).

Three forms are known, and all parse to the same fields: the live service's (`si`, `ct`, a list
`pub_cluster`, ``["22:1972"]`` for ports), 002's (`order_id`, `connection`) and 004's own. The live
service sends no `status` and no `type`; both are derived.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from pydantic import AliasChoices, Field, PrivateAttr, field_validator, model_validator

from clore_ai._values.kinds import as_dict, as_list, as_number
from clore_ai.models._address import as_host, as_port, as_web_address
from clore_ai.models._base import (
    LAST_MOMENT,
    Id,
    Model,
    Moment,
    Whole,
    count_gpus,
    describe_gpu,
)
from clore_ai.models.price import USD, per_hour
from clore_ai.models.server import ServerSpecs

_DEPLOYED = 2
_SSH = re.compile(r"(?:\S+@)?(?P<host>[\w.:-]+?)\s+-p\s*(?P<port>[0-9]+)")
_URL = re.compile(r"\w+://(?P<host>[^/:]+):(?P<port>[0-9]+)")
_LOOPBACK = re.compile(r"^(https?://)?(127\.|localhost|\[::1\])")
_ENDED = {"expired", "completed", "terminated", "cancelled", "canceled", "ended"}


class Order(Model):
    """One rental. `price` is per **day** in `currency`; `mrl` is in seconds."""

    id: Id = Field(validation_alias=AliasChoices("id", "order_id"))
    server_id: Id | None = Field(
        None, validation_alias=AliasChoices("server_id", "renting_server", "si")
    )
    type: str | None = None
    """``"on-demand"`` or ``"spot"``."""
    status: str | None = None
    """The service's own, if it sends one; else derived: ``"pending"``, ``"running"`` or
    ``"expired"``."""
    image: str | None = None
    currency: str | None = None
    price: float | None = None
    """Coin per **day**, without the renter's fee. For a spot order: the bid."""
    created_at: str | None = None
    """When it was created: ISO 8601, UTC, if the service sends unix seconds."""
    pub_cluster: str | None = None
    """The first public host name; all of them are in `ssh_hosts`."""
    tcp_ports: dict[str, int] | None = None
    """Public port by inner port: ``{"22": 1972}``."""
    http_port: int | None = None
    """The inner port behind `http_url`."""
    http_pub: str | None = None
    """``host[:port][/path]``; None if the service sends anything else."""
    env: dict[str, str] | None = Field(None, repr=False)
    ssh_password: str | None = Field(None, repr=False)
    ssh_key: str | None = Field(None, repr=False)
    jupyter_token: str | None = Field(None, repr=False)
    command: str | None = Field(None, repr=False)

    mrl: float | None = None
    """**Maximum** rental length in seconds; see `max_rental`."""
    spend: float | None = None
    """The amount billed so far, in `currency`, without fees."""
    fee: Any | None = None
    creation_fee: float | None = None
    """A single fee, in `currency`."""
    ct: Moment | None = None
    """When it was created, unix seconds by the service's clock."""
    order_end: Moment | None = None
    """When it ended, unix seconds."""
    expired: bool | None = None
    """May be missing on an active order."""
    online: bool | None = None
    """The **host**'s state, also after the order ended; not the container's."""
    mon_container: Whole | None = None
    """0 or 1: deploying; 2: deployed."""
    specs: ServerSpecs | None = None
    gpu_array: list[Any] | None = None
    cuda_version: str | None = None
    owner: Whole | None = None
    reliability: float | None = None
    ssh_hosts: list[str] = Field(default_factory=list[str])
    """Every public host name, in the service's order. Which one works varies, so try all.

    Values that are not host names or addresses (`-oProxyCommand=…`) are omitted, here and in
    `pub_cluster`.
    """

    _way_in: Callable[[Order], str | None] | None = PrivateAttr(default=None)

    def use_ssh(self, line: Callable[[Order], str | None]) -> None:
        """Set the function that makes `ssh_command`: only the client knows the keys."""
        self._way_in = line

    @model_validator(mode="before")
    @classmethod
    def _one_shape(cls, raw: object) -> object:
        record = as_dict(raw)
        return raw if record is None else _normal(record)

    @field_validator("type", mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return value.replace("_", "-").lower() if isinstance(value, str) else value

    @property
    def active(self) -> bool:
        """Is the rental still running and billed?"""
        return not self.expired and (self.status or "").lower() not in _ENDED

    @property
    def ssh_host(self) -> str | None:
        """The first host to try; None until the service names one."""
        return self.ssh_hosts[0] if self.ssh_hosts else self.pub_cluster

    @property
    def ssh_port(self) -> int | None:
        """The public port that leads to the container's port 22; None while there is none."""
        return (self.tcp_ports or {}).get("22")

    @property
    def ssh_address(self) -> str | None:
        """``HOST:PORT`` of the two above; None while one is missing."""
        if self.ssh_host is None or self.ssh_port is None:
            return None
        host = f"[{self.ssh_host}]" if ":" in self.ssh_host else self.ssh_host
        return f"{host}:{self.ssh_port}"

    @property
    def ssh_command(self) -> str | None:
        """``ssh root@HOST -p PORT …``, a line for a shell; None while the order has no SSH address.

        If the order came from a client, the line names its key and does not ask about the host key.
        """
        if self.ssh_host is None or self.ssh_port is None:
            return None
        if self._way_in is not None:
            return self._way_in(self)
        return shlex.join(("ssh", f"root@{self.ssh_host}", "-p", str(self.ssh_port)))

    @property
    def http_url(self) -> str | None:
        """The address of the container's http port; 502 until something listens there.

        The real host is `http_pub`; 001's ``https://<pub_cluster[0]>`` is the fallback. A
        loopback address has no TLS in front of it (the local marketplace), so it is plain http.
        """
        host = self.http_pub or (self.pub_cluster if self.http_port is not None else None)
        if not host:
            return None
        if "://" in host:
            return host
        return f"http://{host}" if _LOOPBACK.match(host) else f"https://{host}"

    @property
    def gpu_model(self) -> str | None:
        """The GPUs as the service describes them."""
        return describe_gpu(self.gpu_array, self.specs.gpu if self.specs else None)

    @property
    def gpu_count(self) -> int:
        """How many GPUs; 0 while unknown."""
        return count_gpus(self.gpu_array, self.specs.gpu if self.specs else None)

    @property
    def max_rental(self) -> timedelta | None:
        """The longest that this rental may last (`mrl` is in seconds here)."""
        try:
            return None if self.mrl is None else timedelta(seconds=self.mrl)
        except (OverflowError, ValueError):  # infinite, NaN, or more than a timedelta can hold
            return None

    @property
    def price_usd_per_day(self) -> float | None:
        """USD per day without fees, for orders paid or priced in USD; else None."""
        if self.price is not None and self.currency == USD:
            return self.price
        return as_number((self.model_extra or {}).get("original_price_usd")) or None

    @property
    def price_usd_per_hour(self) -> float | None:
        """USD per hour without fees; None if unknown."""
        return None if self.price_usd_per_day is None else per_hour(self.price_usd_per_day)


class Orders(list[Order]):
    """The orders that the service lists."""

    unread: int = 0
    """The number of unreadable rows. Each may be an order that runs and is billed."""


def _normal(raw: dict[str, Any]) -> dict[str, Any]:
    """The same order with 004's names and types; unknown fields are kept."""
    row = dict(raw)
    _connect(row)
    times = (as_number(row.get(name)) for name in ("ct", "created"))
    created = next((n for n in times if n and 0 < n < LAST_MOMENT), None)
    if created is not None:
        row["created_at"] = row.get("created_at") or _iso(created)
    if created is not None or isinstance(row.get("ct"), (int, float)):
        row["ct"] = created
    if not row.get("type") and ("spot" in row or "si" in row):
        row["type"] = "spot" if row.get("spot") else "on-demand"
    if not row.get("status"):
        row["status"] = _status(row)
    return row


def _iso(unix_s: float) -> str:
    """ISO 8601, UTC."""
    moment = datetime.fromtimestamp(unix_s, timezone.utc)
    return moment.isoformat().replace("+00:00", "Z")


def _connect(row: dict[str, Any]) -> None:
    """Set hosts and ports from the fields that hold them in this form."""
    hosts = row.get("pub_cluster")
    listed = as_list(hosts)
    given = listed if listed is not None else [hosts]
    names = [name for h in given if (name := as_host(h))]
    ports = _ports(row.get("tcp_ports"))
    links = as_dict(row.get("connection")) or {}
    for inner, text in _links(links):
        found = _SSH.search(text) or _URL.search(text)
        name = None if found is None else as_host(found["host"])
        if found is None or name is None:
            continue
        if not text.startswith("http"):
            ports = {**_ports({inner: found["port"]}), **ports}
        if name not in names:
            names.append(name)
    listed = as_list(row.get("ssh_hosts"))
    row["http_pub"] = as_web_address(row.get("http_pub")) or as_web_address(links.get("jupyter"))
    row["ssh_hosts"] = [name for h in listed or () if (name := as_host(h))] or names
    row["pub_cluster"] = names[0] if names else None
    row["tcp_ports"] = ports or None
    row["http_port"] = as_port(row.get("http_port"))


def _links(links: dict[str, Any]) -> list[tuple[str, str]]:
    """002's `connection` as pairs of inner port and text: the `ssh` line, then `ports`."""
    pairs = [("22", links.get("ssh")), *(as_dict(links.get("ports")) or {}).items()]
    return [(inner, text) for inner, text in pairs if isinstance(text, str)]


def _ports(raw: object) -> dict[str, int]:
    """``["22:1972"]`` or ``{"22": 1972}`` as ``{"22": 1972}``; other values are omitted."""
    pairs = [(str(k), str(v)) for k, v in (as_dict(raw) or {}).items()]
    for item in as_list(raw) or ():
        inner, _, outer = str(item).partition(":")
        pairs.append((inner, outer))
    return {
        str(port): public
        for inner, outer in pairs
        if (port := as_port(inner)) and (public := as_port(outer))
    }


def _status(row: dict[str, Any]) -> str | None:
    """The state in 002's words; the live service sends none (service.md, 3)."""
    if row.get("expired"):
        return "expired"
    container = row.get("mon_container")
    if not (row["pub_cluster"] and row["tcp_ports"]):
        # A deployed order may have no tcp port at all, only http.
        deployed = container == _DEPLOYED and row["pub_cluster"]
        return "running" if deployed else "pending" if "si" in row else None
    return "running" if container in (_DEPLOYED, None) else "pending"
