"""Retries and errors: each row of service.md's table, for each kind of call."""

from __future__ import annotations

from dataclasses import replace

import pytest
from by_hand import Hand, cut, ok, refused, reply

from clore_ai._api import endpoints
from clore_ai._api.answers import HINTS
from clore_ai._api.call import Reply
from clore_ai._api.order_request import OrderRequest
from clore_ai._api.steps import Rules, answer, probe, request
from clore_ai.exceptions import (
    AuthError,
    CloreAPIError,
    DBError,
    FieldError,
    InvalidEndpointError,
    InvalidInputError,
    RateLimitError,
    ResponseError,
    TransportError,
)

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
CDN = b"error code: 1010"

EVEN = Rules(chance=lambda: 0.0)
"""Rules without jitter."""

WANTED = OrderRequest(5, "i", "on-demand", "bitcoin")
CALLS = {
    "wallets": endpoints.wallets,
    "cancel_order": lambda: endpoints.cancel_order(38),
    "create_order": lambda: endpoints.create_order(WANTED),
    "set_spot_price": lambda: endpoints.set_spot_price(39, 0.1),
}
REPEATABLE = {"wallets", "cancel_order"}
ALWAYS, PERHAPS, NEVER = "always", "perhaps", "never"

# The answer, when it is retried, the final error, its code, and `maybe_acted`.
# ALWAYS: certainly not acted on, and worth a retry. PERHAPS: only a repeatable call.
TABLE = {
    "code 1, 500": (reply({"code": 1}, 500), PERHAPS, DBError, 1, True),
    "code 1, 200": (reply({"code": 1}), PERHAPS, DBError, 1, True),
    "code 2, 400": (reply({"code": 2}, 400), NEVER, InvalidInputError, 2, False),
    "code 2, 200": (reply({"code": 2}), NEVER, InvalidInputError, 2, False),
    "code 3, 401": (reply({"code": 3}, 401), NEVER, AuthError, 3, False),
    "code 3, 200": (reply({"code": 3}), NEVER, AuthError, 3, False),
    "code 4, 404": (reply({"code": 4}, 404), NEVER, InvalidEndpointError, 4, False),
    "code 4, 200": (reply({"code": 4}), NEVER, InvalidEndpointError, 4, False),
    "code 5, 429": (reply({"code": 5}, 429), ALWAYS, RateLimitError, 5, False),
    "code 5, 200": (reply({"code": 5}), ALWAYS, RateLimitError, 5, False),
    "429 without JSON": (reply(b"slow down", 429), ALWAYS, RateLimitError, 5, False),
    "429 without code": (reply({}, 429), ALWAYS, RateLimitError, 5, False),
    "code 6, 200": (
        reply({"status": "x", "error": "server-already-rented", "code": 6}),
        NEVER,
        FieldError,
        6,
        False,
    ),
    "code 6, 500": (
        reply({"error": "currency-not-allowed", "code": 6}, 500),
        NEVER,
        FieldError,
        6,
        False,
    ),
    "an unknown code": (reply({"code": 7}), PERHAPS, CloreAPIError, 7, True),
    "401 without JSON": (reply(b"no", 401), NEVER, AuthError, 3, False),
    "404 without JSON": (reply(b"no", 404), NEVER, InvalidEndpointError, 4, False),
    "the CDN's 403": (reply(CDN, 403), NEVER, ResponseError, None, False),
    "HTML 502": (reply(HTML, 502), PERHAPS, ResponseError, None, True),
    "HTML 200": (reply(HTML), PERHAPS, ResponseError, None, True),
    "truncated JSON": (reply(b'{"code":0,"wal'), PERHAPS, ResponseError, None, True),
    "truncated JSON, 202": (reply(b'{"code":', 202), PERHAPS, ResponseError, None, True),
    "an empty answer": (reply(b""), PERHAPS, ResponseError, None, True),
    "a list": (reply([1]), PERHAPS, ResponseError, None, True),
    "no code": (reply({"wallets": []}), PERHAPS, ResponseError, None, True),
    "code true": (reply({"code": True}), PERHAPS, ResponseError, None, True),
    "code in words": (reply({"code": "0"}), PERHAPS, ResponseError, None, True),
    "JSON without end": (reply(b"[" * 100_000), PERHAPS, ResponseError, None, True),
    "not text": (reply(b"\xff\xfe\x00"), PERHAPS, ResponseError, None, True),
    "redirected": (reply(b"", 302), NEVER, ResponseError, None, False),
    "connection refused": (refused(), ALWAYS, TransportError, None, False),
    "cut after sending": (cut(), PERHAPS, TransportError, None, True),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("came", TABLE)
def test_which_answers_are_retried_and_which_are_raised(came, name):
    """Harmless ones are retried 3 times after 1, 2, 4 s; others are raised at once."""
    answered, again, error, code, maybe_acted = TABLE[came]
    hand = Hand(lambda _call, _now: answered)
    with pytest.raises(CloreAPIError) as caught:
        hand.play(answer(CALLS[name](), EVEN))
    assert type(caught.value) is error
    assert caught.value.code == code
    assert caught.value.maybe_acted is maybe_acted
    retried = again == ALWAYS or (again == PERHAPS and name in REPEATABLE)
    assert len(hand.sent) == (4 if retried else 1)
    waited = hand.backoffs if error is RateLimitError else hand.slept
    assert waited == ([1, 2, 4] if retried else [])
    assert len(hand.waits) == len(waited)


@pytest.mark.parametrize("status", [200, 201, 500])
def test_a_success_is_code_0_whatever_the_status(status):
    """The JSON and its code come first, the HTTP status second (service.md, 1)."""
    hand = Hand([reply({"code": 0, "x": 1}, status)])
    assert hand.play(answer(CALLS["create_order"](), EVEN)) == {"code": 0, "x": 1}


@pytest.mark.parametrize("trouble", ["code 5, 429", "connection refused"])
def test_any_call_succeeds_once_the_errors_end(trouble):
    """A request that was certainly not acted on is retried, even one that spends money."""
    hand = Hand([TABLE[trouble][0]] * 2 + [ok()])
    assert hand.play(answer(CALLS["create_order"](), EVEN)) == {"code": 0}
    assert len(hand.sent) == 3
    assert hand.waits == [1, 2]


def test_waits_double_across_kinds_of_errors():
    """1 s, 2 s, 4 s counts the retries, not the kinds of errors."""
    hand = Hand([refused(), reply({"code": 5}, 429), cut(), ok(wallets=[])])
    assert hand.play(request(endpoints.wallets(), EVEN)) == []
    assert hand.slept == [1, 4]
    assert hand.backoffs == [2]


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_max_retries_counts_retries(retries):
    """With `max_retries` 0 a request is sent once."""
    hand = Hand(lambda _call, _now: refused())
    with pytest.raises(TransportError):
        hand.play(answer(endpoints.wallets(), Rules(max_retries=retries)))
    assert len(hand.sent) == retries + 1


@pytest.mark.parametrize("trouble", ["code 5, 429", "connection refused"])
@pytest.mark.parametrize(("chance", "longer"), [(0.0, 1.0), (0.4, 1.2), (1.0, 1.5)])
def test_jitter_only_lengthens_waits(trouble, chance, longer):
    """It adds up to a half: clients that failed together return apart."""
    hand = Hand(lambda _call, _now: TABLE[trouble][0])
    with pytest.raises(CloreAPIError):
        hand.play(answer(endpoints.wallets(), Rules(chance=lambda: chance)))
    assert hand.waits == pytest.approx([longer, 2 * longer, 4 * longer])


def test_by_default_the_waits_differ():
    """Two clients do not wait equally long."""
    hands = [Hand(lambda _call, _now: refused()) for _ in range(2)]
    for hand in hands:
        with pytest.raises(TransportError):
            hand.play(answer(endpoints.wallets(), Rules()))
    assert hands[0].waits != hands[1].waits


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("deadline_s", "sent"), [(0.5, 1), (1.0, 1), (1.5, 2), (5, 3), (8, 4)])
def test_no_wait_ends_after_the_deadline(name, deadline_s, sent):
    """The last error is raised at once and says so, without a wait that could not help."""
    hand = Hand(lambda _call, _now: refused())
    rules = Rules(deadline_s=deadline_s, chance=lambda: 0.0)
    with pytest.raises(TransportError) as caught:
        hand.play(answer(CALLS[name](), rules))
    assert len(hand.sent) == sent
    assert hand.now <= deadline_s
    over = f"refused Not retried: the call's deadline of {deadline_s:g} s has passed."
    assert str(caught.value) == ("refused" if sent == 4 else over)
    assert caught.value.maybe_acted is False


def test_attempts_and_turns_count_towards_the_deadline():
    """An attempt may take the rest of the time; a turn that comes later is not waited for."""
    within: list[float] = []

    def slow(_call: object, _now: float) -> TransportError:
        hand.now += 30
        within.append(hand.within_s)
        return cut()

    hand = Hand(slow)
    hand.turn_s = 3
    with pytest.raises(TransportError, match=r"^cut Not retried: the call's deadline of 68 s"):
        hand.play(answer(endpoints.wallets(), Rules(deadline_s=68, chance=lambda: 0.0)))
    # The first turn comes after 3 s, the second after 30 s, 1 s and 3 s more; the third 1 s late.
    assert within == [68, 68 - 34]
    assert hand.now == 3 + 68


def busy(asked_s: float, status: int = 429) -> Reply:
    """An answer with code 5 and a `Retry-After`."""
    return replace(reply({"code": 5}, status), retry_after_s=asked_s)


@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize(("asked_s", "waits"), [(0.5, [1, 2]), (1.5, [1.5, 2]), (50, [50, 50])])
def test_a_retry_after_only_lengthens_waits(asked_s, waits, status):
    """It applies to every call with the key, as after any code 5."""
    hand = Hand([busy(asked_s, status), busy(asked_s, status), ok()])
    assert hand.play(answer(CALLS["create_order"](), EVEN)) == {"code": 0}
    assert (hand.backoffs, hand.slept) == (waits, [])


def test_a_retry_after_of_a_503_is_respected():
    """The request may have been acted on, so only a repeatable call waits for it."""
    page = replace(reply(HTML, 503), retry_after_s=9)
    hand = Hand([page, ok(wallets=[])])
    assert hand.play(request(endpoints.wallets(), EVEN)) == []
    assert hand.slept == [9]
    with pytest.raises(ResponseError) as caught:
        Hand([page]).play(answer(CALLS["create_order"](), EVEN))
    assert "asks to wait" not in str(caught.value)


@pytest.mark.parametrize("rules", [EVEN, Rules(max_retries=0)], ids=["too late", "no tries left"])
def test_a_retry_after_that_is_not_waited_for_says_until_when(rules):
    """The error comes at once and names the time in UTC, for `create_order` too."""
    hand = Hand([busy(86_400)])
    with pytest.raises(RateLimitError) as caught:
        hand.play(answer(CALLS["create_order"](), rules))
    assert str(caught.value) == (
        "create_order: too many requests (code 5). The service asks to wait until "
        "2023-11-15 22:13:20 UTC; try again then."
    )
    assert hand.waits == []


@pytest.mark.parametrize(
    "call",
    [
        endpoints.wallets(),
        endpoints.my_servers(),
        endpoints.server_config("x"),
        endpoints.my_orders(),
        endpoints.create_order(WANTED),
        endpoints.cancel_order(1),
        endpoints.spot_marketplace(1),
        endpoints.set_spot_price(1, 1),
        endpoints.set_server_settings("x"),
    ],
    ids=lambda call: call.path,
)
def test_without_a_key_nothing_is_sent(call):
    """AuthError names the three ways to set a key (004)."""
    hand = Hand()
    with pytest.raises(AuthError, match=r"api_key=.*CLORE_API_KEY.*clore config set api_key"):
        hand.play(request(call, Rules(has_key=False)))
    assert hand.sent == []


def test_marketplace_needs_no_key():
    """The endpoint is public (004, marketplace)."""
    hand = Hand([ok(servers=[])])
    assert hand.play(request(endpoints.marketplace(), Rules(has_key=False))) == []


def test_a_repeated_cancel_that_finds_the_order_ended_has_succeeded():
    """The first answer was lost, but the order was cancelled."""
    ended = reply({"code": 6, "error": "order_not_active"})
    assert Hand([cut(), ended]).play(answer(endpoints.cancel_order(38), Rules())) == {"code": 0}
    with pytest.raises(FieldError):
        Hand([ended]).play(answer(endpoints.cancel_order(38), Rules()))
    with pytest.raises(FieldError):  # the first never arrived: another client ended the order
        Hand([refused(), ended]).play(answer(endpoints.cancel_order(38), Rules()))


def test_a_refusal_without_a_reason_after_a_lost_answer_is_retried():
    """The reason may be that the order has ended: if retries fail, the result is left open."""
    ended = reply({"code": 6, "error": "order_not_active"})
    bare = reply({"code": 6})
    cancel = endpoints.cancel_order(38)
    assert Hand([cut(), bare, ended]).play(answer(cancel, Rules())) == {"code": 0}
    with pytest.raises(FieldError) as caught:
        Hand([cut(), bare]).play(answer(cancel, Rules(max_retries=1)))
    assert caught.value.maybe_acted
    with pytest.raises(FieldError) as caught:
        Hand([bare]).play(answer(cancel, Rules()))
    assert not caught.value.maybe_acted


@pytest.mark.parametrize(
    "make",
    [
        endpoints.wallets,
        endpoints.marketplace,
        endpoints.my_servers,
        endpoints.my_orders,
        lambda: endpoints.server_config("x"),
        lambda: endpoints.spot_marketplace(6),
    ],
)
@pytest.mark.parametrize("held", [{}, {"wallets": 1, "servers": {}, "orders": None}])
def test_an_incomplete_answer_is_an_error(make, held):
    """A ResponseError names what is missing; it is never a KeyError."""
    with pytest.raises(ResponseError, match="holds no"):
        Hand([ok(**held)]).play(request(make(), Rules()))


@pytest.mark.parametrize("reason", sorted(HINTS))
def test_a_refusal_carries_its_reason_and_the_next_step(reason):
    """The service's word is in `error` and in the message, followed by the next step."""
    body = {"code": 6, "error": reason, "max_step": 0.1, "time_to_lowering": 7}
    with pytest.raises(FieldError) as caught:
        Hand([reply(body)]).play(answer(endpoints.set_spot_price(1, 1), Rules()))
    assert caught.value.error == reason
    assert caught.value.response == body
    assert reason in str(caught.value)
    assert HINTS[reason] in str(caught.value)
    assert "max_step 0.1, time_to_lowering 7" in str(caught.value)


def test_a_redirect_names_its_target():
    """The target helps the user to find the wrong base URL."""
    moved = Reply(301, "text/html", b"", "https://example.org/v1/wallets")
    with pytest.raises(ResponseError, match=r"example\.org.*base URL"):
        Hand([moved]).play(answer(endpoints.wallets(), Rules()))


def test_probe_names_the_first_host_that_greets():
    """Hosts are tried in order, and none after the one that answered."""
    hand = Hand(probes=[False, True])
    assert hand.play(probe(["a", "b", "c"], 22)) == "b"
    assert hand.probed == [("a", 22), ("b", 22)]
    assert Hand(probes=[]).play(probe(["a"], 22)) is None
