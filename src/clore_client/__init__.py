"""The `CloreClient` of the older guides (001, CLI & SDK Guide; 002, API Quick Reference).

Plain dicts and lists, as the service sends them. It is a thin wrapper around `clore_ai`, so it is
paced and never sends a rental twice. Prices are as the service's: per **day**, in the named coin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from clore_ai._api import endpoints
from clore_ai._api.order_request import OrderRequest
from clore_ai._api.steps import answer
from clore_ai._values.kinds import as_dict, as_list
from clore_ai._values.secrets import hide
from clore_ai.client import CloreAI
from clore_ai.config import DEFAULT_BASE_URL
from clore_ai.exceptions import CloreAPIError as _Error
from clore_ai.exceptions import OrderUncertain
from clore_ai.rental.orders import create

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_ai._api.call import Call
    from clore_ai._api.steps import Flow
    from clore_ai.models import OrderType

__all__ = ["CloreAPIError", "CloreClient"]

T = TypeVar("T")

_NO_CODE = -1


class CloreAPIError(Exception):
    """Raised when the service returns a code other than 0, or nothing usable.

    `code` is the service's code, `error` its reason, and `response` its answer. If there was no
    answer (`code` -1), `error` says what happened.
    """

    ERROR_CODES: Mapping[int, str] = {
        0: "Normal",
        1: "Database error",
        2: "Invalid input data",
        3: "Invalid API token",
        4: "Invalid endpoint",
        5: "Rate limit exceeded (1 req/sec)",
        6: "Error (see error field)",
    }

    def __init__(self, response: dict[str, Any]) -> None:
        self.response = response
        self.code = response.get("code")
        self.error = response.get("error", "")
        known = self.code if isinstance(self.code, int) else _NO_CODE
        message = self.ERROR_CODES.get(known, f"Unknown code {self.code}")
        if self.error:
            message = f"{message}: {self.error}"
        super().__init__(f"Clore API error {self.code}: {message}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.response,), self.__dict__


class CloreClient:
    """Client of the Clore.ai REST API, with the methods of 001 and 002.

    Args:
        api_key: as in `clore_ai.CloreAI`; if empty, from the environment or the config file.

    Calls go to `BASE_URL`, unless ``CLORE_BASE_URL`` or the config file names another address.
    """

    BASE_URL = DEFAULT_BASE_URL
    ERROR_CODES = CloreAPIError.ERROR_CODES

    def __init__(self, api_key: str | None = None) -> None:
        api_key = hide(api_key)
        self._base_url = self.BASE_URL
        self._client = CloreAI(
            api_key, None if self._base_url == DEFAULT_BASE_URL else self._base_url
        )
        self.api_key = self._client.api_key

    @property
    def _api(self) -> CloreAI:
        """The client, with the current address and key of the attributes."""
        if self._base_url != self.BASE_URL:
            self._base_url = self._client.base_url = self.BASE_URL
        if self._client.api_key != self.api_key:
            self._client.api_key = hide(self.api_key)
        return self._client

    def list_servers(self) -> list[dict[str, Any]]:
        """All servers on the marketplace, rented ones too."""
        return self._rows(endpoints.marketplace(), "servers")

    def get_marketplace(self) -> list[dict[str, Any]]:
        """All servers on the marketplace (002's name)."""
        return self.list_servers()

    def get_server_details(self, server_id: int) -> dict[str, Any]:
        """The spot market of one server."""
        return self._row(endpoints.spot_marketplace(server_id), "market")

    def create_order(
        self,
        server_id: int,
        image: str,
        order_type: str = "on-demand",
        currency: str = "bitcoin",
        spotprice: float | None = None,
        ports: dict[str, str] | None = None,
        ssh_password: str | None = None,
        ssh_key: str | None = None,
        jupyter_token: str | None = None,
        env: dict[str, str] | None = None,
        command: str | None = None,
        required_price: float | None = None,
    ) -> dict[str, Any]:
        """Rent a server, once, and return ``{"code": 0, "order_id": …}``.

        The service's own answer holds no id, so the order is looked up. `spotprice` and
        `required_price` are in `currency` per **day** (001's workflow passes `required_price`, but
        its class lacks it).

        Raises:
            ValueError: a spot order without `spotprice`.
            CloreAPIError: refused. With code -1 an order may exist: check `get_orders`.
        """
        ssh_password, ssh_key = hide(ssh_password), hide(ssh_key)
        jupyter_token, env, command = hide(jupyter_token), hide(env), hide(command)
        if order_type == "spot" and spotprice is None:
            raise ValueError("spotprice is required for spot orders")
        try:
            wanted = OrderRequest(
                server_id, image, cast("OrderType", order_type), currency, ssh_password, ssh_key,
                ports, env, jupyter_token, command, spotprice, required_price,
            )  # fmt: skip
            order = self._api.drive(create.create(self._api.session, wanted))
        except _Error as exc:
            raise _plain(exc) from exc
        return {"code": 0, "order_id": order.id}

    def get_orders(self, include_completed: bool = False) -> list[dict[str, Any]]:
        """Active orders; with `include_completed` also those that ended."""
        return self._rows(endpoints.my_orders(include_completed=include_completed), "orders")

    def cancel_order(self, order_id: int, issue: str | None = None) -> dict[str, Any]:
        """End a rental; `issue` is the reason, for the host."""
        try:
            return self._api.cancel_order(order_id, issue)
        except _Error as exc:
            raise _plain(exc) from exc

    def get_wallets(self) -> list[dict[str, Any]]:
        """Wallets and balances."""
        return self._rows(endpoints.wallets(), "wallets")

    def get_my_servers(self) -> list[dict[str, Any]]:
        """Servers that the user hosts."""
        return self._rows(endpoints.my_servers(), "servers")

    def _rows(self, call: Call[Any], key: str) -> list[dict[str, Any]]:
        return _there(as_list(self._body(call).get(key)), key)

    def _row(self, call: Call[Any], key: str) -> dict[str, Any]:
        return _there(as_dict(self._body(call).get(key)), key)

    def _body(self, call: Call[Any]) -> dict[str, Any]:
        flow: Flow[dict[str, Any]] = answer(call, self._api.session.rules)
        try:
            return self._api.drive(flow)
        except _Error as exc:
            raise _plain(exc) from exc


def _there(value: T | None, key: str) -> T:
    if value is None:
        raise CloreAPIError({"code": _NO_CODE, "error": f"the answer holds no {key!r}"})
    return value


def _plain(exc: _Error) -> CloreAPIError:
    """The same error in 001's form."""
    if exc.response and exc.code is not None and not isinstance(exc, OrderUncertain):
        return CloreAPIError(exc.response)
    return CloreAPIError({"code": _NO_CODE if exc.code is None else exc.code, "error": str(exc)})
