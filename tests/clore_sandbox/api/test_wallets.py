"""Wallets over both databases: money moves whole or not at all."""

import pytest

from clore_sandbox import books
from clore_sandbox.store import Store
from clore_sandbox.store.schema import MARKETPLACE
from clore_sandbox.values.money import MAX_UNITS

COIN = "bitcoin"
HOST = 77  # an owner in a captured body: it has no wallet yet


@pytest.fixture
def store(db):
    store = Store(db)
    yield store
    store.close()


@pytest.fixture
def renter(store):
    """An account with 100 units."""

    def make(tx):
        key = books.create_account(tx, None, {COIN: 100})
        return books.account_of(tx, key)

    return store.call(make)


def amounts(store, *accounts):
    return store.call(lambda tx: [books.balance(tx, account, COIN) for account in accounts])


def pay(store, source, shares):
    store.call(lambda tx: books.pay(tx, source, COIN, shares))


def test_who_has_no_wallet_yet_gets_one_with_what_it_earns(store, renter):
    pay(store, renter, {HOST: 60, MARKETPLACE: 0})
    pay(store, renter, {HOST: 30, MARKETPLACE: 10})
    assert amounts(store, renter, HOST, MARKETPLACE) == [0, 90, 10]


def test_the_last_unit_can_be_paid_and_one_more_cannot(store, renter):
    with pytest.raises(ValueError, match="cannot pay 101 units"):
        pay(store, renter, {HOST: 100, MARKETPLACE: 1})
    assert amounts(store, renter, HOST, MARKETPLACE) == [100, 0, 0]
    pay(store, renter, {HOST: 99, MARKETPLACE: 1})
    assert amounts(store, renter, HOST, MARKETPLACE) == [0, 99, 1]


def test_nobody_pays_who_has_no_wallet(store, renter):
    with pytest.raises(ValueError, match="cannot pay"):
        pay(store, HOST, {renter: 1})
    assert amounts(store, renter, HOST) == [100, 0]


def test_an_account_that_pays_itself_keeps_what_it_has(store, renter):
    pay(store, renter, {renter: 70, MARKETPLACE: 5})
    assert amounts(store, renter, MARKETPLACE) == [95, 5]


def test_nothing_to_pay_is_no_payment(store, renter):
    pay(store, renter, {})
    pay(store, renter, {HOST: 0})
    assert amounts(store, renter, HOST) == [100, 0]


@pytest.mark.parametrize("units", [MAX_UNITS - 99, MAX_UNITS])
def test_a_wallet_holds_so_much_and_no_more(store, renter, units):
    with pytest.raises(ValueError, match="more than a wallet can hold"):
        store.call(lambda tx: books.top_up(tx, renter, COIN, units))
    store.call(lambda tx: books.top_up(tx, renter, COIN, MAX_UNITS - 100))
    assert amounts(store, renter) == [MAX_UNITS]


def test_a_full_wallet_takes_no_payment(store, renter):
    store.call(lambda tx: books.top_up(tx, MARKETPLACE, COIN, MAX_UNITS))
    with pytest.raises(ValueError, match="cannot pay"):
        pay(store, renter, {HOST: 5, MARKETPLACE: 1})
    assert amounts(store, renter, HOST, MARKETPLACE) == [100, 0, MAX_UNITS]
