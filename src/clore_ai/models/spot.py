"""The spot auction of one server (``GET spot_marketplace``; 004, Models; service.md, 3 and 5)."""

from __future__ import annotations

from datetime import timedelta

from pydantic import AliasChoices, Field

from clore_ai.models._base import Id, Model, Whole
from clore_ai.models.price import Rates


class SpotOffer(Model):
    """One bid. 004's `order_id` and `price` are the service's `offer_id` and `bid`."""

    order_id: Id | None = Field(None, validation_alias=AliasChoices("order_id", "offer_id"))
    """The id that `set_spot_price` takes, for your own offers."""
    price: float | None = Field(None, validation_alias=AliasChoices("price", "bid"))
    """In `currency` per **day**."""
    server_id: Id | None = None
    active: bool | None = None
    """Does the order run? An offer that is outbid waits, unbilled."""
    my: bool | None = None
    """Is it your own offer?"""
    currency: str | None = None

    @property
    def offer_id(self) -> int | None:
        """The service's name for `order_id`."""
        return self.order_id

    @property
    def bid(self) -> float | None:
        """The service's name for `price`: in `currency` per **day**."""
        return self.price


class SpotServerInfo(Model):
    """The terms of the auctioned server."""

    min_pricing: dict[str, float] | None = None
    """Lowest bid per **day**, by coin."""
    mrl: Whole | None = None
    """**Maximum** rental length in seconds here (service.md, 2)."""
    visibility: str | None = None
    online: bool | None = None

    @property
    def max_rental(self) -> timedelta | None:
        """The longest rental (`mrl` is in seconds here); None if the value is not usable."""
        try:
            return None if self.mrl is None else timedelta(seconds=self.mrl)
        except OverflowError:
            return None


class SpotMarket(Model):
    """The auction of one server: its offers, its terms, and the values of coins."""

    currency_rates_in_usd: dict[str, float] | None = None
    """USD for one coin."""
    offers: list[SpotOffer] | None = None
    server: SpotServerInfo | None = None

    @property
    def rates(self) -> Rates:
        """The values of coins, according to this auction."""
        rates = Rates()
        rates.note(self.currency_rates_in_usd)
        return rates
