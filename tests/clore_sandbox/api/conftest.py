"""Hosts of a server, and a renter."""

import pytest


@pytest.fixture
def hosted(own_market, renter_of):
    """A market, the client of a host with one server, and a rich renter."""
    market = own_market(provision=False, visibility_lag_s=0, boot_s=0, host_servers=1)
    return market, renter_of(market), renter_of(market, bitcoin=1, **{"USD-Blockchain": 1e4})


@pytest.fixture
def documented(own_market, renter_of):
    """The host of a server without a price, in the dialect of 002 and 004."""
    market = own_market(provision=False, dialect="reference", host_servers=1)
    market.add_server(None, "new", connected=False)
    return renter_of(market)
