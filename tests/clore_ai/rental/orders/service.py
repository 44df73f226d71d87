"""A service for one order: it answers `create_order` once, and lists what the test says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional

import pytest
from by_hand import Hand, ok, reply

from clore_ai._api.order_request import OrderRequest
from clore_ai.exceptions import CloreAPIError, FieldError, OrderUncertain, ResponseError
from clore_ai.rental.orders.create import RentalTerms, create
from clore_ai.rental.session import Session

if TYPE_CHECKING:
    from clore_ai._api.call import Call

WANTED = OrderRequest(server_id=5, image="i", type="on-demand", currency="bitcoin")
SUCCESS = ok()
REFUSALS = {
    "code 2": (reply({"code": 2}, 400), CloreAPIError),
    "code 3": (reply({"code": 3}, 401), CloreAPIError),
    "code 6": (reply({"code": 6, "error": "server-already-rented"}), FieldError),
    "the CDN": (reply(b"error code: 1010", 403), ResponseError),
}


class Service:
    """Answers `create_order` with `post`; lists `before`, and later the rows of `after(now)`."""

    def __init__(
        self,
        post: object = SUCCESS,
        before: list[dict] = (),
        after: Callable[[float], list[dict]] = lambda _now: [],
        completed: Optional[list[dict]] = None,
    ) -> None:
        self.posts = list(post) if isinstance(post, list) else [post]
        self.before, self.after, self.completed = list(before), after, completed or []
        self.created = 0

    def __call__(self, call: Call[Any], now: float) -> object:
        if call.path == "create_order":
            self.created += 1
            return self.posts.pop(0) if len(self.posts) > 1 else self.posts[0]
        assert call.path == "my_orders"
        rows = [*self.before, *(self.after(now) if self.created else [])]
        return ok(orders=rows + (self.completed if call.params else []))


def rent(service: Service, session: Optional[Session] = None, ref: Optional[str] = None):
    """Create an order: the hand that played the flow, and its result or error."""
    hand = Hand(service)
    session = session or Session()
    flow = create(session, WANTED, RentalTerms(ref))
    return hand, session, hand.play(flow)


def uncertain(service: Service, session: Optional[Session] = None) -> tuple[Hand, OrderUncertain]:
    hand = Hand(service)
    with pytest.raises(OrderUncertain) as caught:
        hand.play(create(session or Session(), WANTED))
    return hand, caught.value
