"""`/control/NAME` does the same as the methods, with a key of its own; errors say why."""

import inspect
import re

import httpx
import pytest

from clore_sandbox import Sandbox
from clore_sandbox.control import OPERATIONS, Control
from clore_sandbox.control.blocking import Controls


class Remote:
    def __init__(self, market):
        self.http = httpx.Client(
            base_url=market.control_url, headers={"auth": market.control_key}, timeout=20
        )

    def __call__(self, name, /, **params):
        method = OPERATIONS[name].method
        given = {"params": params} if method == "GET" else {"json": params}
        return self.http.request(method, f"/{name}", **given)

    def ok(self, name, /, **params):
        answer = self(name, **params)
        assert (answer.status_code, answer.json()["code"]) == (200, 0), answer.text
        return answer.json()


@pytest.fixture
def remote(market):
    remote = Remote(market)
    yield remote
    remote.http.close()


def public(cls):
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    }


def test_each_control_is_both_a_method_and_an_operation():
    """Signature and docstring are the same; HTTP has the same parameters and defaults."""
    controls = public(Control)
    assert public(Controls) == {**controls, "advance": controls["jump"]}
    assert set(OPERATIONS) == set(controls)
    for name, operation in OPERATIONS.items():
        assert getattr(Controls, name).__doc__ == getattr(Control, name).__doc__
        assert operation.summary, name
        parameters = dict(controls[name].parameters)
        del parameters["self"]
        assert list(operation.params) == list(parameters), name
        needed = {n for n, p in parameters.items() if p.default is p.empty}
        # `key` of `top_up` comes first, so it cannot have a default there.
        assert needed - {"key"} == set(operation.required), name
        for parameter, schema in operation.params.items():
            default = parameters[parameter].default
            if "default" in schema and not (schema["default"] in ([], {}) and not default):
                assert schema["default"] == default, (name, parameter)


def test_controls_need_their_own_key(market, remote):
    for key in (None, "", "wrong", market.api_key, "ü".encode("latin-1")):
        headers = {} if key is None else {"auth": key}
        answer = httpx.get(f"{market.control_url}/clock", headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"code": 3})
    assert market.control_key not in (market.api_key, Sandbox().control_key)
    # And a client of an account cannot use the controls' key.
    answer = httpx.get(f"{market.base_url}/wallets", headers={"auth": market.control_key})
    assert answer.status_code == 401


def test_health_needs_no_key(market):
    answer = httpx.get(f"{market.control_url}/health")
    assert answer.json() == {"instance": market.instance, "code": 0}


def test_unknown_controls_and_methods(remote):
    assert remote.http.get("/wings").json() == {"code": 4}
    assert remote.http.get("/wings").status_code == 404
    health = remote.http.post("/health")
    assert (health.status_code, health.headers["allow"]) == (405, "GET")
    answer = remote.http.get("/jump")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["code"] == 4


@pytest.mark.parametrize(
    ("name", "params", "why"),
    [
        ("jump", {}, "needs seconds"),
        ("jump", {"seconds": "1"}, "of type number"),
        ("jump", {"seconds": True}, "of type number"),
        ("jump", {"seconds": -1}, "at least 0"),
        ("jump", {"seconds": 1, "minutes": 1}, "has no minutes"),
        ("speed", {"factor": 0}, "above 0"),
        ("speed", {"factor": 1e9}, "at most"),
        ("fault", {"endpoint": "wallets", "kind": "on_fire"}, "one of"),
        ("fault", {"endpoint": "wallets", "kind": "never_boots"}, "affects orders"),
        ("fault", {"endpoint": "*", "kind": "odd_fields", "fields": [1]}, r"fields\[0\]"),
        ("top_up", {"coin": "doge", "amount": 1}, "one of"),
        ("top_up", {"coin": "bitcoin", "amount": "1e5"}, "match"),
        ("create_account", {"balances": {"doge": 1}}, "has no doge"),
        ("create_account", {"balances": {"bitcoin": -1}}, "at least 0"),
        ("load", {"snapshot": {}}, "not a snapshot"),
        ("journal", {"after": "x"}, "of type integer"),
    ],
)
def test_invalid_parameters_are_400_with_the_reason(remote, name, params, why):
    answer = remote(name, **params)
    assert (answer.status_code, answer.json()["code"]) == (400, 2)
    assert re.search(why, answer.json()["error"])


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff", b"[" * 10_000])
def test_invalid_bodies(remote, body):
    answer = remote.http.post("/jump", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 2)


def test_oversized_bodies(remote):
    answer = remote.http.post("/jump", content=b" " * 2_000_000)
    assert (answer.status_code, answer.json()["code"]) == (413, 2)


def test_unknown_accounts_and_orders_are_404(remote):
    for name, params in (
        ("wallet", {"key": "nobody"}),
        ("set_online", {"server_id": -1, "online": False}),
        ("remove_fault", {"fault_id": 0}),
        ("connect_server", {"name": "nothing"}),
    ):
        answer = remote(name, **params)
        assert (answer.status_code, answer.json()["code"]) == (404, 6), answer.text
        assert answer.json()["error"]


def test_a_session_over_http(own_market, renter_of):
    """A complete test, as it may be written in another language."""
    market = own_market(provision=False, visibility_lag_s=1, boot_s=1)
    remote = Remote(market)
    frozen = remote.ok("freeze")
    assert (frozen["frozen"], frozen["speed"]) == (True, 1.0)
    key = remote.ok("create_account", balances={"bitcoin": "0.5"})["api_key"]
    topped = remote.ok("top_up", key=key, coin="bitcoin", amount=0.25)["wallet"]
    assert topped["bitcoin"] == "0.75"
    before = remote.ok("snapshot")["snapshot"]

    remote.ok("fault", endpoint="create_order", kind="act_then_500")
    remote.ok("fault", endpoint="my_orders", kind="rate_limited", times=2, probability=1)
    assert [f["kind"] for f in remote.ok("faults")["faults"]] == ["act_then_500", "rate_limited"]
    renter = renter_of(market)
    renter.http.headers["auth"] = key
    assert renter.create(renter.free()[0]["id"]).json() == {"code": 1}
    remote.ok("clear_faults")
    later = remote.ok("jump", seconds=86_400)
    assert later["now"] == pytest.approx(frozen["now"] + 86_400, abs=0.01)
    (order,) = renter.orders()
    (created,) = remote.ok("journal", endpoint="create_order")["journal"]
    assert (created["acted"], created["order"], created["status"]) == (True, order["id"], 500)
    assert float(remote.ok("wallet", key=key)["wallet"]["bitcoin"]) < 0.75
    assert key in [a["key"] for a in remote.ok("accounts")["accounts"]]

    remote.ok("load", snapshot=before)
    assert remote.ok("wallet", key=key)["wallet"]["bitcoin"] == "0.750000000000"[:4]
    remote.ok("set_online", server_id=order["si"], online=False)
    assert renter.create(order["si"]).json()["error"] == "server-offline"
    remote.ok("set_online", server_id=order["si"], online=True)
    remote.ok("set_rented", server_id=order["si"], rented=True)
    assert renter.create(order["si"]).json()["error"] == "server-already-rented"

    assert remote.ok("add_server", name="Mine", connected=False)["server_id"] is None
    number = remote.ok("connect_server", name="Mine")["server_id"]
    remote.ok("set_background_job", name="Mine", image="miner", env={"A": "b"})
    assert number in [s["id"] for s in renter.free()]
    remote.ok("clear_journal")
    remote.ok("speed", factor=10)
    assert remote.ok("unfreeze")["frozen"] is False
    remote.ok("reset")
    assert remote.ok("clock")["speed"] == 1.0
    remote.http.close()
