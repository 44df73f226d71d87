"""Wallets over both databases: a payment is made completely or not at all."""

import pytest

from clore_sandbox import books
from clore_sandbox.store import Store
from clore_sandbox.store.schema import MARKETPLACE
from clore_sandbox.values.money import MAX_UNITS

COIN = "bitcoin"
HOST = 77  # an owner in a captured body, who has no wallet yet


@pytest.fixture
def store(db):
    store = Store(db)
    yield store
    store.close()


@pytest.fixture
def renter(store):
    """Makes an account with 100 units."""

    def make(tx):
        key = books.create_account(tx, None, {COIN: 100})
        return books.account_of(tx, key)

    return store.call(make)


def amounts(store, *accounts):
    return store.call(lambda tx: [books.balance(tx, account, COIN) for account in accounts])


def pay(store, source, shares):
    store.call(lambda tx: books.pay(tx, source, COIN, shares))


def test_a_first_payment_creates_the_wallet(store, renter):
    pay(store, renter, {HOST: 60, MARKETPLACE: 0})
    pay(store, renter, {HOST: 30, MARKETPLACE: 10})
    assert amounts(store, renter, HOST, MARKETPLACE) == [0, 90, 10]


def test_the_last_unit_can_be_paid_but_not_one_more(store, renter):
    with pytest.raises(ValueError, match="cannot pay 101 units"):
        pay(store, renter, {HOST: 100, MARKETPLACE: 1})
    assert amounts(store, renter, HOST, MARKETPLACE) == [100, 0, 0]
    pay(store, renter, {HOST: 99, MARKETPLACE: 1})
    assert amounts(store, renter, HOST, MARKETPLACE) == [0, 99, 1]


def test_an_account_without_a_wallet_cannot_pay(store, renter):
    with pytest.raises(ValueError, match="cannot pay"):
        pay(store, HOST, {renter: 1})
    assert amounts(store, renter, HOST) == [100, 0]


def test_paying_oneself_changes_nothing(store, renter):
    pay(store, renter, {renter: 70, MARKETPLACE: 5})
    assert amounts(store, renter, MARKETPLACE) == [95, 5]


def test_a_payment_of_zero_is_no_payment(store, renter):
    pay(store, renter, {})
    pay(store, renter, {HOST: 0})
    assert amounts(store, renter, HOST) == [100, 0]


@pytest.mark.parametrize("units", [MAX_UNITS - 99, MAX_UNITS])
def test_a_wallet_has_a_maximum(store, renter, units):
    with pytest.raises(ValueError, match="more than a wallet can hold"):
        store.call(lambda tx: books.top_up(tx, renter, COIN, units))
    store.call(lambda tx: books.top_up(tx, renter, COIN, MAX_UNITS - 100))
    assert amounts(store, renter) == [MAX_UNITS]


def test_a_full_wallet_receives_no_payment(store, renter):
    store.call(lambda tx: books.top_up(tx, MARKETPLACE, COIN, MAX_UNITS))
    with pytest.raises(ValueError, match="cannot pay"):
        pay(store, renter, {HOST: 5, MARKETPLACE: 1})
    assert amounts(store, renter, HOST, MARKETPLACE) == [100, 0, MAX_UNITS]
