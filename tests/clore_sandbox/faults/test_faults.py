"""Faults on request, and a journal of what really happened."""

import subprocess
import time

import httpx
import pytest


@pytest.fixture
def server(renter):
    return renter.free()[0]["id"]


def body_of(server):
    return {"renting_server": server, "image": "i", "type": "on-demand", "currency": "bitcoin"}


def creations(market):
    return [e.order for e in market.journal() if e.order is not None]


def cut(renter, server):
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        renter.create(server)


def test_cut_before_the_action(market, renter, server):
    before = creations(market)
    market.fault("create_order", "cut_before")
    cut(renter, server)
    assert creations(market) == before
    entry = market.journal()[-1]
    assert (entry.status, entry.acted, entry.fault) == (None, False, "cut_before")


def test_cut_after_the_action(market, renter, server):
    market.fault("create_order", "act_then_cut")
    cut(renter, server)
    entry = market.journal()[-1]
    assert (entry.status, entry.acted, entry.fault) == (None, True, "act_then_cut")
    assert entry.order in creations(market)
    assert renter.create(server).json()["error"] == "server-already-rented"


def test_500_after_the_action(market, renter, server):
    market.fault("create_order", "act_then_500")
    answer = renter.create(server)
    assert (answer.status_code, answer.json()) == (500, {"code": 1})
    assert market.journal()[-1].acted


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("500", 500, '{"code":1}'),
        ("rate_limited", 429, '{"code":5}'),
        ("cdn_403", 403, "error code: 1010"),
        ("html_502", 502, "<html>"),
    ],
)
def test_answers_in_place_of_the_real_one(market, renter, server, kind, status, text):
    before = creations(market)
    market.fault("create_order", kind)
    answer = renter.create(server)
    assert (answer.status_code, answer.text[: len(text)]) == (status, text)
    assert creations(market) == before
    assert renter.create(server).json() == {"code": 0}


def test_a_retry_after_is_in_whole_seconds(market, renter):
    """HTTP 429 with the header, rounded up; the rest of the response is unchanged."""
    market.fault("wallets", "retry_after", delay_s=2.5)
    answer = renter.http.get("/wallets")
    assert (answer.status_code, answer.json()) == (429, {"code": 5})
    assert answer.headers["retry-after"] == "3"
    assert renter.http.get("/wallets").status_code == 200


def test_a_late_answer_has_already_acted(market, renter, server):
    market.fault("create_order", "late", delay_s=0.3)
    started = time.monotonic()
    assert renter.create(server).json() == {"code": 0}
    assert time.monotonic() - started >= 0.3


def test_the_journal_has_a_request_before_its_late_answer(market, renter, server, wait):
    """A client that gives up must be able to check whether the request was acted on."""
    before = creations(market)
    market.fault("create_order", "late", delay_s=5)
    with pytest.raises(httpx.ReadTimeout):
        renter.http.post("/create_order", json=body_of(server), timeout=0.2)
    wait(lambda: len(creations(market)) == len(before) + 1, timeout_s=4)
    entry = market.journal("create_order")[-1]
    assert (entry.acted, entry.status, entry.fault) == (True, 200, "late")


def test_half_an_answer_has_no_code(market, renter, server):
    renter.create(server)
    market.fault("create_order", "truncated_json")
    assert renter.create(server).text == '{"status":"error","error":"se'
    entry = market.journal("create_order")[-1]
    assert (entry.code, entry.acted) == (None, False)


def test_broken_bodies(market, renter):
    market.fault("my_orders", "truncated_json")
    market.fault("wallets", "missing_fields")
    with pytest.raises(ValueError, match=r"JSON|delimiter|Unterminated|Expecting"):
        renter.http.get("/my_orders").json()
    assert renter.http.get("/wallets").json() == {"code": 0}


def test_faults_by_count_key_and_endpoint_can_be_cleared(market, renter, renter_of):
    other = renter_of(market, fresh=True)
    market.fault("wallets", "500", times=2, key=renter.http.headers["auth"])
    assert other.http.get("/wallets").status_code == 200
    assert renter.http.get("/my_orders").status_code == 200
    assert [renter.http.get("/wallets").status_code for _ in range(3)] == [500, 500, 200]
    market.fault("*", "html_502", times=None)
    assert [renter.http.get(f"/{e}").status_code for e in ("wallets", "my_orders")] == [502, 502]
    market.clear_faults()
    assert renter.http.get("/wallets").status_code == 200


def test_probability_is_seeded(own_market, renter_of):
    def statuses():
        market = own_market(seed=5, provision=False)
        market.fault("wallets", "500", times=None, probability=0.5)
        return [renter_of(market).http.get("/wallets").status_code for _ in range(30)]

    drawn = statuses()
    assert set(drawn) == {200, 500}
    assert drawn == statuses()


def test_an_invalid_fault_is_refused(market):
    with pytest.raises(ValueError, match="no such fault"):
        market.fault("wallets", "on_fire")
    with pytest.raises(ValueError, match="affects orders"):
        market.fault("wallets", "never_boots")


class TestOrderFaults:
    @pytest.fixture
    def one(self, own_market, renter_of):
        market = own_market()
        return market, renter_of(market)

    def shown(self, renter, wait, deployed=True):
        renter.create(renter.free()[0]["id"], ports={"22": "tcp"}, ssh_password="Secret123")
        wanted = 2 if deployed else 0
        return wait(
            lambda: next(
                (o for o in renter.orders() if o["tcp_ports"] and o["mon_container"] == wanted),
                None,
            )
        )

    def test_a_refused_order_consumes_no_fault(self, one, wait):
        market, renter = one
        market.fault("create_order", "never_boots")
        assert renter.create(5).json()["error"] == "server-dont-exist"
        assert [fault.happened for fault in market.faults()] == [0]
        self.shown(renter, wait, deployed=False)
        assert market.faults() == []

    def test_never_boots(self, one, wait, shell_of):
        market, renter = one
        market.fault("create_order", "never_boots")
        order = self.shown(renter, wait, deployed=False)
        market.advance(3600)
        assert renter.orders()[0]["mon_container"] == 0
        assert b"Connection refused" in shell_of(order).run("true").stderr
        renter.cancel(order)

    def test_no_ssh(self, one, wait, shell_of):
        market, renter = one
        market.fault("create_order", "no_ssh")
        order = self.shown(renter, wait)
        assert b"Connection refused" in shell_of(order).run("true").stderr

    def test_refuses_key(self, one, wait, shell_of):
        market, renter = one
        market.fault("create_order", "refuses_key")
        shell = shell_of(self.shown(renter, wait))
        denied = wait(lambda: (d := shell.run("true")) and (d if b"denied" in d.stderr else None))
        assert denied.returncode == 255

    def test_fewer_gpus(self, one, wait, shell_of):
        market, renter = one
        market.fault("create_order", "fewer_gpus")
        order = self.shown(renter, wait)
        shell = shell_of(order)
        listed = wait(
            lambda: (d := shell.run("nvidia-smi -L")) and (d if d.returncode != 255 else None)
        )
        lines = listed.stdout.decode().splitlines()
        if (count := len(order["gpu_array"]) - 1) == 0:
            assert (listed.returncode, lines) == (6, ["No devices were found"])
        else:
            assert len(lines) == count

    def test_host_dies(self, one, wait, shell_of):
        market, renter = one
        market.fault("create_order", "host_dies", delay_s=1)
        order = self.shown(renter, wait)
        assert order["online"]
        row = wait(lambda: next((o for o in renter.orders() if not o["online"]), None))
        assert row["id"] == order["id"]
        assert b"refused" in shell_of(order).run("true").stderr
        market.set_online(order["si"], True)
        assert renter.orders()[0]["online"]
        wait(lambda: shell_of(renter.orders()[0]).run("true").returncode == 0)


def test_the_journal_keeps_bodies_without_secrets(market, renter, server):
    renter.create(server, ssh_password="hunter2hunter2", env={"TOKEN": "hunter3"}, image="img")
    entry = next(e for e in reversed(market.journal()) if e.endpoint == "create_order")
    assert "hunter" not in repr(entry)
    assert renter.http.headers["auth"] not in repr(entry)
    assert (entry.method, entry.body["image"], entry.code) == ("POST", "img", 0)
    assert list(entry.body["env"]) == ["TOKEN"]


def test_curl_reports_a_cut_connection(market):
    market.fault("marketplace", "cut_before")
    done = subprocess.run(
        ["curl", "-s", f"{market.base_url}/marketplace"], capture_output=True, check=False
    )
    assert done.returncode in (52, 56)  # empty reply, or reset
