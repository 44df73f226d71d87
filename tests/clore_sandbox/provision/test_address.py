"""The address of orders: the displayed name, the range of ports, the address to bind."""

import socket

import httpx
import pytest

from clore_sandbox import Sandbox


@pytest.fixture(scope="module")
def quick():
    """Makes marketplaces of the default kind; the address is the same for every kind of room."""
    return {"visibility_lag_s": 0, "boot_s": 0, "limits": False}


@pytest.fixture
def free_range():
    """A few free neighbouring ports below those that the system assigns."""
    for first in range(21_000, 30_000, 4):
        socks = [socket.socket() for _ in range(4)]
        try:
            for offset, sock in enumerate(socks):
                sock.bind(("0.0.0.0", first + offset))
        except OSError:
            continue
        finally:
            for sock in socks:
                sock.close()
        return first, first + 3
    raise AssertionError("no free range")


def test_orders_show_the_public_host_and_stay_within_the_range(
    own_market, renter_of, shell_of, free_range
):
    market = own_market(host="0.0.0.0", public_host="localhost", ports=free_range)
    renter = renter_of(market, bitcoin=1)
    order = renter.rent(ports={"22": "tcp", "8888": "http"})
    assert order["pub_cluster"] == ["localhost"]
    host, port = order["http_pub"].split(":")
    assert host == "localhost"
    assert free_range[0] <= int(port) <= free_range[1]
    assert shell_of(order).run("echo reached").stdout == b"reached\n"
    own = socket.gethostbyname(socket.gethostname())
    with socket.create_connection((own, int(shell_of(order).port)), 5) as sock:
        assert sock.recv(4) == b"SSH-"
    assert httpx.get(f"http://{own}:{market.port}/control/health").json()["code"] == 0


def test_ports_are_reused_and_an_order_beyond_the_range_has_none(
    own_market, renter_of, shell_of, free_range, caplog
):
    renter = renter_of(own_market(ports=free_range), bitcoin=1)
    for _ in range(2):  # connections of the first four are still closing
        orders = [renter.rent() for _ in range(4)]
        ports = {shell_of(order).port for order in orders}
        assert ports == {str(port) for port in range(free_range[0], free_range[1] + 1)}
        assert shell_of(orders[0]).run("echo on").stdout == b"on\n"
        server = renter.free()[0]["id"]
        renter.create(server, ports={"22": "tcp"}, ssh_password="x")
        (fifth,) = (order for order in renter.orders() if order["si"] == server)
        assert not fifth["tcp_ports"]
        assert "give a wider range with --ports" in caplog.text
        for order in [*orders, fifth]:
            renter.cancel(order)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ports": (20_100, 20_000)}, "20100-20000"),
        ({"ports": (0, 10)}, "0-10"),
        ({"ports": (60_000, 70_000)}, "60000-70000"),
        ({"public_host": "http://x"}, "http://x"),
        ({"public_host": "x:22"}, "x:22"),
        ({"public_host": ""}, "''"),
    ],
)
def test_an_invalid_address_or_range_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Sandbox(**options)
