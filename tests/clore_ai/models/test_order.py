"""An Order answers the user's questions in whatever shape it came (service.md, 3)."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta

import pytest
import shapes

from clore_ai._api import endpoints
from clore_ai.models import Order


def order(record: dict) -> Order:
    before = copy.deepcopy(record)
    (parsed,) = endpoints.my_orders().parse({"orders": [record]})
    assert record == before  # a model is made from a copy; the dict stays the same
    return parsed


def live(**changes: object) -> Order:
    return order({**shapes.LIVE_ACTIVE, **changes})


def test_live_active():
    """The address is from `pub_cluster` and `tcp_ports`; the price is per day, `mrl` in seconds."""
    o = live()
    assert (o.id, o.server_id, o.type, o.status, o.active) == (
        700_001,
        88_028,
        "on-demand",
        "pending",
        True,
    )
    assert (o.ssh_host, o.ssh_port) == ("n1.us.clorecloud.net", 1972)
    assert o.ssh_hosts == ["n1.us.clorecloud.net", "n2.us.clorecloud.net"]
    assert o.ssh_command == "ssh root@n1.us.clorecloud.net -p 1972"
    assert o.tcp_ports == {"22": 1972, "6006": 1973}
    assert (o.http_port, o.http_url) == (8888, "https://xxxx.us.clorecloud.net")
    assert (o.price_usd_per_day, o.price_usd_per_hour) == (2, 2 / 24)
    assert o.max_rental == timedelta(days=7)
    assert (o.created_at, o.ct) == ("2023-11-14T22:13:20Z", 1_700_000_000)
    assert (o.gpu_model, o.gpu_count) == ("1x NVIDIA GeForce RTX 3090", 1)
    assert o.rating == {"avg": 4.5, "cnt": 3}  # not in 004: kept


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"mon_container": 0}, "pending"),
        ({"mon_container": 1}, "pending"),
        ({"mon_container": 2}, "running"),
        ({"mon_container": None}, "running"),
        ({"mon_container": 2, "tcp_ports": []}, "running"),
        ({"mon_container": 2, "tcp_ports": [], "pub_cluster": None}, "pending"),
        ({"expired": True}, "expired"),
        ({"expired": False, "mon_container": 2}, "running"),
        ({"status": "paused"}, "paused"),
    ],
)
def test_the_state_is_derived(changes, status):
    """The live service has no `status`: `expired` decides, then the container and the address."""
    o = live(**changes)
    assert o.status == status
    assert o.active is (status != "expired")


@pytest.mark.parametrize("word", ["Completed", "terminated", "EXPIRED", "Cancelled"])
def test_the_words_of_an_ended_order(word):
    """The site's words and 002's count in any case."""
    assert not order({"id": 1, "status": word}).active


def test_live_closed():
    """`online` describes the host, not the order."""
    o = order(shapes.LIVE_CLOSED)
    assert (o.active, o.status, o.online) == (False, "expired", True)
    assert o.ssh_host is o.ssh_port is o.ssh_command is o.http_url is None
    assert o.order_end == 1_700_000_948


def test_001():
    """`http_url` falls back to the first host of the cluster."""
    o = order(shapes.OF_001)
    assert o.ssh_command == "ssh root@n1.c1.clorecloud.net -p 10000"
    assert o.http_url == "https://n1.c1.clorecloud.net"
    assert (o.active, o.server_id, o.type) == (True, None, None)


def test_002():
    """The connection is a string."""
    o = order(shapes.OF_002)
    assert (o.id, o.server_id, o.status, o.active) == (98765, 12345, "running", True)
    assert (o.ssh_host, o.ssh_port) == ("node123.clore.ai", 40022)
    assert o.http_url == "http://node123.clore.ai:8888"
    assert o.created_at == "2024-03-02T17:20:00Z"
    assert o.started == 1_709_400_120
    assert o.connection["ssh"].startswith("ssh root@")


def test_004():
    """Each documented field has the right value."""
    o = order(shapes.OF_004)
    assert (o.pub_cluster, o.tcp_ports, o.http_port) == (
        "n1.c1.clorecloud.net",
        {"22": 10000},
        8888,
    )
    assert o.ssh_command == "ssh root@n1.c1.clorecloud.net -p 10000"
    assert (o.server_id, o.type, o.created_at) == (123, "spot", "2024-05-21T12:00:00Z")
    assert (o.env, o.ssh_password) == ({"A": "secret-env"}, "secret-password")


@pytest.mark.parametrize("name", shapes.ALL)
def test_secrets_are_not_in_repr(name):
    """Logs and tracebacks show no password, key, token, env or command."""
    assert "secret" not in repr(order(shapes.ALL[name]))
    assert "secret" not in str(order(shapes.ALL[name]))


@pytest.mark.parametrize("name", shapes.ALL)
def test_dump_copy_and_pickle_round_trip(name):
    """An order that was dumped, copied or pickled is the same."""
    o = order(shapes.ALL[name])
    assert Order.model_validate(o.model_dump()) == o
    assert Order.model_validate_json(o.model_dump_json()) == o
    assert pickle.loads(pickle.dumps(o)) == o
    assert copy.deepcopy(o) == o


@pytest.mark.parametrize("name", ["server_id", "renting_server", "si"])
def test_server_id_by_any_name(name):
    """It has 004's name, its alias or the live one."""
    assert order({"id": 1, name: 5}).server_id == 5
    assert Order(id=1, **{name: 5}).server_id == 5


@pytest.mark.parametrize(
    ("ports", "parsed"),
    [
        (["22:1972"], {"22": 1972}),
        (["22:1972", "x", "8:y", "9:", ":5", 7], {"22": 1972}),
        ({"22": 1972}, {"22": 1972}),
        ({"22": "1972"}, {"22": 1972}),
        ([], None),
        ({}, None),
        (["22:²", "22:99999", "22:0", "22:" + "9" * 5000], None),
        ("22:1972", None),
        (22, None),
    ],
)
def test_ports_in_any_form(ports, parsed):
    """Lists and dicts; an invalid port is omitted, the order is not."""
    assert order({"id": 1, "tcp_ports": ports}).tcp_ports == parsed


@pytest.mark.parametrize(
    ("cluster", "hosts"),
    [
        ("n1", ["n1"]),
        (["n1", "n2"], ["n1", "n2"]),
        ([None, "", " n2 ", 5], ["n2"]),
        ([], []),
        (None, []),
        ({"a": "b"}, []),
        (5, []),
    ],
)
def test_hosts_in_any_form(cluster, hosts):
    """A list or a string; `pub_cluster` is the first, as in 004."""
    o = order({"id": 1, "pub_cluster": cluster})
    assert o.ssh_hosts == hosts
    assert o.pub_cluster == (hosts[0] if hosts else None)


def test_a_spot_order_says_so():
    """`spot` is optional on the live service."""
    assert live(spot=True).type == "spot"
    assert live(spot=False).type == "on-demand"
    assert order({"id": 1, "type": "On_Demand"}).type == "on-demand"


def test_price_usd_if_known():
    """Paid in USD, or with the original price in USD; unknown is None, never 0."""
    assert live(currency="bitcoin").price_usd_per_hour is None
    assert live(currency="bitcoin", original_price_usd=24).price_usd_per_hour == 1
    assert live(currency="bitcoin", original_price_usd=0).price_usd_per_day is None
    assert live(price=None).price_usd_per_day is None


@pytest.mark.parametrize(
    ("pub", "url"),
    [
        ("a.clorecloud.net", "https://a.clorecloud.net"),
        ("http://a.net", "http://a.net"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost:8080", "http://localhost:8080"),
    ],
)
def test_http_url(pub, url):
    """HTTPS on the service; plain on loopback, which has no TLS proxy."""
    assert live(http_pub=pub).http_url == url


@pytest.mark.parametrize("when", [1e20, 1.7e12, -1e18, float("nan"), float("inf"), 10**400, "x"])
def test_a_time_outside_the_calendar_is_unknown(when):
    """The order stays."""
    o = live(ct=when, mrl=when)
    assert o.id == 700_001
    assert o.created_at is None
    assert o.max_rental is None or o.max_rental
