"""Every `error` of service.md section 1 occurs, with its HTTP status, in both dialects."""

from typing import get_args

import pytest

from clore_sandbox.rules import ErrorName

COIN = "USD-Blockchain"
#: HTTP statuses in the live dialect that are not 200 (service.md section 1).
STATUS = {"currency-not-allowed": 500}


class Scene:
    """A host with one server, and two rich renters."""

    def __init__(self, market, renter_of):
        self.market = market
        self.host = renter_of(market)
        rich = {COIN: 1000, "bitcoin": 1}
        self.renter, self.other = renter_of(market, **rich), renter_of(market, **rich)
        self.poor = renter_of(market, bitcoin=1e-11)
        (self.server,) = self.host.http.get("/my_servers").json()["servers"]
        self.id = self.server["id"]
        self.least = self.server["min_spot_pricing"][COIN]

    def bid(self, price=None, client=None, **fields):
        fields = {"type": "spot", "spotprice": price or self.least, "currency": COIN, **fields}
        return (client or self.renter).create(self.id, **fields)

    def order(self, client=None, **query):
        return (client or self.renter).orders(**query)[0]["id"]

    def offered(self, extra=0):
        self.bid(self.least + extra)
        return self.order()

    def price(self, order, desired):
        return self.renter.post("set_spot_price", order_id=order, desired_price=desired)

    def settings(self, **fields):
        full = {"name": "MyGPU", "availability": True, "mrl": 9, "on_demand": 1, "spot": 1}
        return self.host.post("set_server_settings", **{**full, **fields})

    def gigaspot(self):
        servers = self.renter.http.get("/marketplace").json()["servers"]
        return next(s["id"] for s in servers if s.get("gigaspot") and not s["rented"])


def offline(scene):
    scene.market.set_online(scene.id, False)
    return scene.renter.create(scene.id)


def rented(scene):
    scene.other.create(scene.id)
    return scene.renter.create(scene.id)


def twice(scene):
    scene.bid()
    return scene.bid(scene.least + 1)


def not_mine(scene):
    return scene.other.post("cancel_order", id=scene.offered())


def cancelled(scene):
    order = scene.offered()
    scene.renter.cancel({"id": order})
    return scene.renter.post("cancel_order", id=order)


def long_issue(scene):
    return scene.renter.post("cancel_order", id=scene.offered(), issue="x" * 2049)


def lowered_twice(scene):
    order = scene.offered(extra=1)
    assert scene.price(order, scene.least + 0.95).json() == {"code": 0}
    return scene.price(order, scene.least + 0.94)


REACHED = {
    "server-dont-exist": lambda s: s.renter.create(5),
    "server-offline": offline,
    "server-already-rented": rented,
    "not_enough_balance": lambda s: s.poor.create(s.id),
    "cant_rent_from_yourself": lambda s: s.host.create(s.id),
    "too_low_price": lambda s: s.bid(s.least / 2),
    "you_already_have_spot_order": twice,
    "currency-not-allowed": lambda s: s.renter.create(s.id, currency="doge"),
    "machine-is-on-gigaspot": lambda s: s.renter.create(s.gigaspot()),
    "you_dont_own_this_order": not_mine,
    "order_not_active": cancelled,
    "issue_description_too_long": long_issue,
    "order_dont_exist": lambda s: s.price(1, 5),
    "amount_too_low": lambda s: s.price(s.offered(), s.least / 2),
    "can_lower_every_600_seconds": lowered_twice,
    "exceeded_max_step": lambda s: s.price(s.offered(extra=5), s.least),
    "server_dont_exist": lambda s: s.settings(name="nothing"),
    "not_all_parameters_present": lambda s: s.settings(mrl=None),
    "invalid_mrl": lambda s: s.settings(mrl=0),
    "invalid_input": lambda s: s.settings(spot=-1),
}
EXTRA = {"can_lower_every_600_seconds": "time_to_lowering", "exceeded_max_step": "max_step"}


def test_every_documented_error_has_a_case():
    assert set(REACHED) == set(get_args(ErrorName))


@pytest.mark.parametrize("dialect", ["live", "reference"])
@pytest.mark.parametrize("error", REACHED)
def test_error_and_status(own_market, renter_of, error, dialect):
    market = own_market(
        provision=False, visibility_lag_s=0, boot_s=0, dialect=dialect, host_servers=1
    )
    answer = REACHED[error](Scene(market, renter_of))
    body = answer.json()
    if (error, dialect) == ("not_all_parameters_present", "reference"):
        assert body["code"] == 0  # in that dialect partial settings are merged
        return
    assert (body["error"], body["code"]) == (error, 6)
    assert answer.status_code == (STATUS.get(error, 200) if dialect == "live" else 200)
    if error in EXTRA:
        assert body[EXTRA[error]] > 0


def test_the_config_of_an_unknown_server(own_market, renter_of):
    renter = renter_of(own_market(provision=False))
    answer = renter.http.request("GET", "/server_config", json={"server_name": "MyGPU"})
    assert (answer.status_code, answer.json()) == (200, {"error": "server_dont_exist", "code": 6})


def test_an_on_demand_order_is_not_an_offer(own_market, renter_of):
    scene = Scene(own_market(provision=False, visibility_lag_s=0, host_servers=1), renter_of)
    scene.renter.create(scene.id)
    assert scene.price(scene.order(), 5).json()["error"] == "order_dont_exist"
