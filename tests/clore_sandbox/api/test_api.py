"""Every row of the status table in service.md, and every reachable `error`, in both dialects."""

import threading

import httpx
import pytest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx2pX0nq7Z0Uo9m8v1Qk8b7m4n1m8m2m3m4m5m6m7m8 me"


def test_success_is_200_and_code_0(renter):
    answer = renter.http.get("/wallets")
    assert (answer.status_code, answer.json()["code"]) == (200, 0)
    names = [wallet["name"] for wallet in answer.json()["wallets"]]
    assert names == ["bitcoin", "CLORE-Blockchain", "USD-Blockchain"]
    assert "deposit" not in answer.json()["wallets"][2]


def test_a_rate_limit_is_429_with_only_code_5(own_market, renter_of):
    renter = renter_of(own_market(limits=True))
    assert renter.http.get("/wallets").status_code == 200
    answer = renter.http.get("/my_orders")
    assert (answer.status_code, answer.json()) == (429, {"code": 5})
    assert "retry-after" not in answer.headers


def test_rate_limits_use_the_markets_clock(own_market, renter_of):
    market = own_market(limits=True)
    renter = renter_of(market)
    for _ in range(3):
        assert renter.http.get("/wallets").status_code == 200
        market.advance(1)


def test_marketplace_is_limited_only_with_a_key(own_market, renter_of):
    renter = renter_of(own_market(limits=True))
    url = f"{renter.sandbox.base_url}/marketplace"
    assert [httpx.get(url).status_code for _ in range(3)] == [200, 200, 200]
    assert [httpx.get(url, headers={"auth": "?"}).status_code for _ in range(2)] == [200, 200]
    assert [renter.http.get("/marketplace").status_code for _ in range(2)] == [200, 429]


def test_a_rented_server_is_200_with_a_status(renter):
    server = next(s for s in renter.http.get("/marketplace").json()["servers"] if s["rented"])
    answer = renter.create(server["id"])
    assert answer.status_code == 200
    assert answer.json()["error"] == "server-already-rented"
    assert answer.json()["code"] == 6
    assert "status" in answer.json()


def test_a_coin_that_is_not_allowed_is_500(renter):
    """`allowed_coins` decides, even if the coin has a price."""
    odd = next(
        s
        for s in renter.http.get("/marketplace").json()["servers"]
        if not s["rented"]
        and "bitcoin" in s["price"]["on_demand"]
        and "bitcoin" not in s["allowed_coins"]
    )
    answer = renter.create(odd["id"])
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "currency-not-allowed", "code": 6},
    )


def test_a_coin_without_a_price_is_not_allowed(renter):
    odd = next(
        s
        for s in renter.http.get("/marketplace").json()["servers"]
        if not s["rented"] and "bitcoin" not in s["price"]["on_demand"]
    )
    assert renter.create(odd["id"]).json()["error"] == "currency-not-allowed"
    assert renter.create(renter.free()[0]["id"], currency="doge").status_code == 500


def test_an_ampersand_in_an_env_value_is_500_with_code_1(renter):
    server = renter.free()[0]["id"]
    answer = renter.create(server, env={"URL": "a&b"})
    assert (answer.status_code, answer.json()) == (500, {"code": 1})
    assert renter.create(server).json() == {"code": 0}
    assert [e.order for e in renter.sandbox.journal() if e.endpoint == "create_order" and e.acted]


@pytest.mark.parametrize("key", [None, "", "wrong", "ключ"])
def test_a_bad_key_is_401_and_code_3(market, key):
    headers = {} if key is None else {"auth": key.encode()}
    answer = httpx.get(f"{market.base_url}/wallets", headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"code": 3})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nothing"),
        ("GET", "/v1/"),
        ("GET", "/v1"),
        ("GET", "/"),
        ("GET", "/v2/wallets"),
        ("GET", "/v1/wallets/"),
        ("POST", "/v1/wallets"),
        ("GET", "/v1/create_order"),
        ("DELETE", "/v1/my_orders"),
        ("OPTIONS", "/v1/wallets"),
        ("GET", "/control/nothing"),
    ],
)
def test_an_unknown_endpoint_or_method_is_404_and_code_4(renter, method, path):
    answer = renter.http.request(method, str(renter.http.base_url.join(path)))
    assert (answer.status_code, answer.json()) == (404, {"code": 4})


BAD_FIELDS = [
    {"renting_server": "6"},
    {"renting_server": True},
    {"renting_server": None},
    {"type": "weekly"},
    {"currency": 7},
    {"currency": ""},
    {"image": None},
    {"ports": [22]},
    {"ports": {"22": "udp"}},
    {"ports": {"ssh": "tcp"}},
    {"ports": {"0": "tcp"}},
    {"ports": {"65536": "tcp"}},
    {"ports": {"80": "http", "8888": "http"}},
    {"env": "A=1"},
    {"env": {"A": 1}},
    {"env": {"A=B": "1"}},
    {"env": {"A": "1" * 1537}},
    {"env": {"A" * 129: "1"}},
    {"env": {f"N{n}": "1" * 1500 for n in range(9)}},
    {"ssh_password": "x" * 33},
    {"ssh_password": 5},
    {"jupyter_token": "x" * 33},
    {"ssh_key": f"{KEY} {'x' * 3072}"},
    {"ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----"},
    {"ssh_key": "~/.ssh/id_ed25519.pub"},
    {"remember_password": "yes"},
    {"required_price": "cheap"},
    {"required_price": -1},
    {"required_price": 1e300},
    {"type": "spot"},
    {"command": ["ls"]},
    {"autossh_entrypoint": 3},
    {"dockerhub_auth": ["me", "secret"]},
]


@pytest.mark.parametrize("fields", BAD_FIELDS, ids=str)
def test_malformed_input_is_400_and_code_2(renter, fields):
    answer = (
        renter.create(**{"server": 1, **fields})
        if "renting_server" not in fields
        else (
            renter.post("create_order", image="i", type="on-demand", currency="bitcoin", **fields)
        )
    )
    assert (answer.status_code, answer.json()) == (400, {"code": 2})


@pytest.mark.parametrize(
    "fields",
    [
        {"ssh_password": "both", "ssh_key": KEY},
        {"dockerhub_auth": "me:secret"},
        {"dockerhub_auth": {"user": "me", "pass": "secret"}},
        {"remember_password": True},
        {"remember_password": None},
    ],
    ids=str,
)
def test_input_forms_in_use_are_accepted(market, renter_of, fields):
    """Clients send these forms to the live service; a refusal has another reason."""
    renter = renter_of(market)
    answer = renter.create(1, **fields)
    assert answer.json()["error"] == "server-dont-exist"


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("cancel_order", {}),
        ("cancel_order", {"id": "38"}),
        ("cancel_order", {"id": 2**70}),
        ("cancel_order", {"id": 38, "issue": 5}),
        ("set_spot_price", {"order_id": 39}),
        ("set_spot_price", {"order_id": "39", "desired_price": 1}),
    ],
)
def test_other_endpoints_validate_their_input_too(renter, endpoint, body):
    answer = renter.post(endpoint, **body)
    assert (answer.status_code, answer.json()) == (400, {"code": 2})


@pytest.mark.parametrize("query", ["", "?market=", "?market=six", "?market=-1", f"?market={9**30}"])
def test_spot_marketplace_needs_a_number(renter, query):
    assert renter.http.get(f"/spot_marketplace{query}").json() == {"code": 2}


def code_6(answer, status=200):
    assert (answer.status_code, answer.json()["code"]) == (status, 6)
    return answer.json()["error"]


def test_errors_of_create_order(renter, renter_of, own_market):
    assert code_6(renter.create(999_999_999)) == "server-dont-exist"
    assert code_6(renter.create(2**63)) == "server-dont-exist"
    free = renter.free()
    assert code_6(renter.create(free[0]["id"], required_price=1e-9)) == "too_low_price"
    gigaspot = next(
        s
        for s in renter.http.get("/marketplace").json()["servers"]
        if s.get("gigaspot") and not s["rented"]
    )
    assert code_6(renter.create(gigaspot["id"])) == "machine-is-on-gigaspot"
    poor = renter_of(renter.sandbox, bitcoin=0.00000001)
    assert code_6(poor.create(free[0]["id"])) == "not_enough_balance"
    market = own_market(provision=False)
    offline = renter_of(market)
    server = offline.free()[0]["id"]
    market.set_online(server, False)
    assert code_6(offline.create(server)) == "server-offline"
    assert server not in [s["id"] for s in offline.http.get("/marketplace").json()["servers"]]
    market.set_online(server, True)
    assert offline.create(server).json() == {"code": 0}


def test_renting_ones_own_server_is_refused(own_market, renter_of):
    body = {
        "servers": [
            {
                "id": 1,
                "owner": 1_000_001,
                "mrl": 5,
                "allowed_coins": ["bitcoin"],
                "price": {"on_demand": {"bitcoin": 0.001}, "spot": {}},
                "rented": False,
            }
        ]
    }
    renter = renter_of(own_market(inventory=body))
    assert code_6(renter.create(1)) == "cant_rent_from_yourself"


def test_errors_of_cancel_order(renter, renter_of):
    order = renter.rent(ports={})
    other = renter_of(renter.sandbox, fresh=True)
    assert code_6(other.post("cancel_order", id=order["id"])) == "you_dont_own_this_order"
    assert code_6(renter.post("cancel_order", id=1)) == "you_dont_own_this_order"
    long = renter.post("cancel_order", id=order["id"], issue="x" * 2049)
    assert code_6(long) == "issue_description_too_long"
    assert renter.post("cancel_order", id=order["id"], issue="x" * 2048).json() == {"code": 0}
    assert code_6(renter.post("cancel_order", id=order["id"])) == "order_not_active"


def test_errors_of_hosting_and_bidding(renter):
    assert code_6(renter.post("set_spot_price", order_id=1, desired_price=1)) == "order_dont_exist"
    assert code_6(renter.post("set_server_settings", mrl=1)) == "not_all_parameters_present"
    assert code_6(renter.post("set_server_settings", name="x", mrl=1)) == "server_dont_exist"
    config = renter.http.request("GET", "/server_config", json={"server_name": "MyGPU"})
    assert code_6(config) == "server_dont_exist"
    assert renter.http.get("/server_config").json() == {"code": 2}
    assert renter.http.get("/my_servers").json() == {"servers": [], "limit": 16, "code": 0}


def test_spot_marketplace_names_rates_and_seconds(renter):
    server = renter.free()[0]
    body = renter.http.get("/spot_marketplace", params={"market": server["id"]}).json()
    assert body["exists"]
    assert body["market"]["server"]["mrl"] == server["mrl"] * 3600
    assert body["market"]["server"]["min_pricing"] == server["price"]["spot"]
    rate = server["price"]["usd"]["on_demand_btc"] / server["price"]["on_demand"]["bitcoin"]
    assert body["market"]["currency_rates_in_usd"]["bitcoin"] == pytest.approx(rate)
    gone = renter.http.get("/spot_marketplace?market=1").json()
    assert (gone["exists"], gone["market"]["offers"], gone["code"]) == (False, [], 0)


def test_required_price_at_the_list_price_is_accepted(renter):
    server = renter.free()[0]
    price = server["price"]["on_demand"]["bitcoin"]
    assert renter.create(server["id"], required_price=price).json() == {"code": 0}


def test_of_two_renters_of_one_server_one_wins(own_market, renter_of):
    market = own_market(provision=False)
    renters = [renter_of(market, fresh=True) for _ in range(6)]
    server = renters[0].free()[0]["id"]
    gate, answers = threading.Barrier(len(renters)), []

    def rent(renter):
        gate.wait()
        answers.append(renter.create(server).json())

    threads = [threading.Thread(target=rent, args=(r,)) for r in renters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a for a in answers if a["code"] == 0] == [{"code": 0}]
    assert {a["error"] for a in answers if a["code"]} == {"server-already-rented"}
    assert sum(e.order is not None for e in market.journal()) == 1


class TestReferenceDialect:
    """Documents 002 and 004: the fields they name, and HTTP 200 for every response."""

    def test_every_status_is_200(self, own_market, renter_of):
        renter = renter_of(own_market(dialect="reference", limits=True))
        base = renter.sandbox.base_url
        assert httpx.get(f"{base}/wallets").json() == {"code": 3}
        assert httpx.get(f"{base}/wallets").status_code == 200
        assert httpx.get(f"{base}/nothing").status_code == 200
        assert renter.http.get("/wallets").status_code == 200
        limited = renter.http.get("/wallets")
        assert (limited.status_code, limited.json()) == (200, {"code": 5})

    def test_orders_have_the_documented_fields(self, own_market, renter_of, wait):
        renter = renter_of(own_market(dialect="reference"))
        server = renter.free()[0]["id"]
        created = renter.create(
            server, ports={"22": "tcp", "8888": "http"}, env={"A": "a&b"}
        ).json()
        assert created["order"]["id"] == created["order_id"]
        assert created["order"]["status"] == "pending"
        order = wait(lambda: next((o for o in renter.orders() if o["status"] == "running"), None))
        assert (order["order_id"], order["renting_server"]) == (created["order_id"], server)
        assert order["connection"]["ssh"].startswith("ssh root@127.0.0.1 -p ")
        assert set(order["connection"]["ports"]) == {"22", "8888"}
        assert order["created"] <= order["started"]
        # 004, Order: one host, numbered ports, and numbers as values.
        assert order["pub_cluster"] == "127.0.0.1"
        assert isinstance(order["tcp_ports"]["22"], int)
        assert order["http_port"] == 8888
        renter.cancel(order)
        closed = renter.orders(return_completed="true")[0]
        assert closed["status"] == "expired"
        assert "connection" not in closed

    def test_a_refusal_has_a_message(self, own_market, renter_of):
        """004, APIResponse: `message` stands beside the `error` of both dialects."""
        renter = renter_of(own_market(dialect="reference", provision=False))
        refused = renter.create(987_654)
        assert refused.json() == {
            "error": "server-dont-exist",
            "message": "server-dont-exist",
            "code": 6,
        }
        assert "message" not in renter_of(own_market(provision=False)).create(987_654).json()
