"""A host, port, address or time of the service is valid or counts as absent."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import shapes
from hypothesis import given
from hypothesis import strategies as st

from clore_ai._api.parse import models
from clore_ai.models import MarketplaceServer, Order
from clore_ai.models._address import as_host, as_port, as_web_address

HOSTS = [
    "n1.us.clorecloud.net", "localhost", "a", "1und1.de", "xn--e1afmkfd.xn--p1ai", "n1.x.net.",
    "127.0.0.1", "::1", "2001:db8::7", "a-b.c", f"{'a' * 63}.net",
]  # fmt: skip
NO_HOSTS = [
    "-oProxyCommand=touch x", "-l", "a.-b", "a-", "root@a.net", "a b", "a\nb", "$HOME", "$(x)",
    "a;b", "a`b`", "a'b", 'a"b', "a|b", "a&b", "a/b", "a\\b", "%h", "fe80::1%eth0", "a%b", "a_b",
    "é.net", "a..b", ".a", "", " ", "1.2.3", "2130706433", "0x7f000001", "1.2.3.4.5", "256.1.1.1",
    f"{'a' * 64}.net", "a." * 130 + "a", "[::1]", "a:22", "*", "~", "#a", "a\u200b", "\u202ea",
    "\uff41.net",
]  # fmt: skip
NO_ADDRESSES = [
    "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "ftp://a.net", "//a.net",
    "http://user@a.net", "https://u:p@a.net", "http://a.net:0", "http://a.net:99999", "a.net:x",
    "http://", "http://-a.net", "a.net/$(x)", "a.net/`x`", "a.net/a b", "a.net/a;b", "a.net/'x",
    'a.net/"x', "a.net/<x>", "a.net#x", "a.net?x=1&y", "http://[::1", "http://[zz]", "-a.net",
    "http:/a.net", "https:a.net", "a.net/\u202ex", "\x1b[2J", "http://a.net\\@b.net",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_valid_hosts(host: str) -> None:
    """Names by RFC 1123 and addresses; spaces around them are removed."""
    order = Order.model_validate({"id": 1, "pub_cluster": [f" {host} "], "tcp_ports": ["22:1972"]})
    assert (order.ssh_host, order.pub_cluster, order.ssh_hosts) == (host, host, [host])
    assert order.ssh_command == f"ssh root@{host} -p 1972"


@pytest.mark.parametrize("host", NO_HOSTS)
@pytest.mark.parametrize("form", ["list", "text", "ssh_hosts", "ssh line"])
def test_an_invalid_host_counts_as_absent(host: str, form: str) -> None:
    """This holds for every shape of an order, which then has no SSH address."""
    record: dict[str, Any] = {"id": 1, "tcp_ports": ["22:1972"], "ssh_hosts": [host]}
    if form == "list":
        record["pub_cluster"] = [host]
    elif form == "text":
        record["pub_cluster"] = host
    elif form == "ssh line":
        record["connection"] = {"ssh": f"ssh {host} -p 22", "ports": {"22": f"tcp://{host}:22"}}
    order = Order.model_validate(record)
    shown = [order.ssh_host, order.pub_cluster, order.ssh_command, order.http_url, *order.ssh_hosts]
    if form == "ssh line":  # it may contain a host
        assert all(each is None or as_host(each) or each.startswith("ssh root@") for each in shown)
    else:
        assert shown == [None, None, None, None]


def test_an_invalid_host_leaves_the_others() -> None:
    """Any of the others may be the one that works."""
    order = Order.model_validate(
        {**shapes.LIVE_ACTIVE, "pub_cluster": ["-x", "n1.a.net", 7, "n2.a.net"]}
    )
    assert order.ssh_hosts == ["n1.a.net", "n2.a.net"]
    assert order.pub_cluster == "n1.a.net"


@given(st.text())
def test_a_host_is_one_word_for_a_shell(text: str) -> None:
    """No accepted host or address has a meaning for a shell or for ssh."""
    for found in (as_host(text), as_web_address(text)):
        assert found is None or (shlex.quote(found) in (found, f"'{found}'") and found[0] != "-")
        assert found is None or not set(found) & set("$`;&|<>()'\"\\ \n@#*?!{}")


@pytest.mark.parametrize("port", [0, -1, 65_536, 10**30, True, 22.5, "x", "", "22;x", "²", None])
def test_an_invalid_port_counts_as_absent(port: object) -> None:
    """This holds for public ports, those inside, and that of http."""
    assert as_port(port) is None
    order = Order.model_validate(
        {"id": 1, "tcp_ports": [f"22:{port}", f"{port}:22", "8:9"], "http_port": port}
    )
    assert (order.tcp_ports, order.http_port) == ({"8": 9}, None)


@pytest.mark.parametrize("address", ["a.net", "a.net:8080", "a.net/x/y-1", "http://a.net",
    "https://a.net:1/",
                                     "127.0.0.1:80", "http://[::1]:80/x",
                                     "HTTPS://A.net"])  # fmt: skip
def test_valid_http_addresses(address: str) -> None:
    """They are ``host[:port][/path]``, by http or https."""
    assert Order.model_validate({"id": 1, "http_pub": address}).http_pub == address


@pytest.mark.parametrize("address", NO_ADDRESSES)
@pytest.mark.parametrize("by", ["http_pub", "jupyter"])
def test_an_invalid_http_address_counts_as_absent(address: str, by: str) -> None:
    """It has no user, no other scheme, and nothing with a meaning for a shell."""
    record = {"http_pub": address} if by == "http_pub" else {"connection": {"jupyter": address}}
    order = Order.model_validate({"id": 1, **record})
    assert (order.http_pub, order.http_url) == (None, None)


@pytest.mark.parametrize(
    "when", [float("nan"), float("inf"), 1e400, 10**400, 1e18, 1.7e12, -5, None]
)
@pytest.mark.parametrize("name", ["ct", "created"])
def test_an_invalid_time_is_unknown(when: object, name: str) -> None:
    """Neither the order nor its other fields are lost."""
    order = Order.model_validate({"id": 1, name: when, "si": 5})
    assert (order.ct, order.created_at, order.server_id) == (None, None, 5)


def test_infinite_numbers_are_unknown() -> None:
    """Values derived from them, prices too, are None."""
    price = {"on_demand": {"bitcoin": 10**400, "x": 1e400}, "usd": {"on_demand_btc": 5}}
    (server,) = models(MarketplaceServer, [{"id": 1, "price": price, "mrl": 10**400}])
    assert (server.mrl, server.price_usd) == (None, None)
    assert server.price is not None
    assert server.price.on_demand is not None
    assert server.price.on_demand.coins() == []
