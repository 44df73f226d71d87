"""A watch reports each offer once; one request serves all watches. By hand and on a marketplace."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import programs
import pytest
from by_hand import WALL, Hand, cut, ok, reply
from hypothesis import given
from hypothesis import strategies as st

from clore_ai import AsyncCloreAI, AuthError, CloreAI
from clore_ai._api.steps import Instant, Rules
from clore_ai._state.market import MarketFile
from clore_ai.models import MarketplaceServer
from clore_ai.rental.market import listing
from clore_ai.rental.session import Session
from clore_ai.rental.watch import market as watch
from clore_sandbox.fleet.sample import sample_fleet

if TYPE_CHECKING:
    from clore_sandbox import Sandbox

USD = "USD-Blockchain"


def record(server_id: int, usd_day: float = 24.0, **fields: Any) -> dict[str, Any]:
    price = {"on_demand": {USD: usd_day}, "usd": {}}
    specs = {"gpu": "1x NVIDIA GeForce RTX 4090", "ram": 64}
    return {"id": server_id, "price": price, "allowed_coins": [USD], "specs": specs, **fields}


def server(server_id: int, usd_h: float | None) -> MarketplaceServer:
    day = {} if usd_h is None else {USD: usd_h * 24}
    return MarketplaceServer.model_validate(
        {"id": server_id, "allowed_coins": [USD], "price": {"on_demand": day}}
    )


# -- the state, by hand ------------------------------------------------------------------------


def test_an_offer_is_reported_again_only_if_it_is_news():
    """New, cheaper by a share, or back again; not if it stays or its price wobbles or rises."""
    state = watch.Watch(listing.Filter(), "w")

    def reported(*servers):
        return [
            [s.id for s in e.servers] if isinstance(e, watch.Found) else e.ids
            for e in state.feed(servers, 1.0)
        ]

    assert reported() == []
    assert reported(server(1, 0.5), server(2, 0.4), server(3, None)) == [[2, 1, 3]]
    assert reported(server(1, 0.499), server(2, 0.6), server(3, None)) == []
    assert reported(server(1, 0.49), server(2, 0.4), server(3, 0.1)) == [[3, 1]]
    assert reported(server(1, 0.5), server(3, 9)) == [(2,)]
    assert reported(server(1, 0.48), server(2, 0.4)) == [(3,), [2, 1]]


@given(st.lists(st.dictionaries(st.integers(1, 5), st.floats(0.01, 10)), max_size=12))
def test_the_reported_offers_are_those_that_match(looks):
    """Those reported and not gone are those that match now; no report is repeated."""
    state = watch.Watch(listing.Filter(), "w")
    known: dict[int, float] = {}
    for look in looks:
        for event in state.feed([server(i, p) for i, p in look.items()], 0.0):
            if isinstance(event, watch.Gone):
                for server_id in event.ids:
                    del known[server_id]
            elif isinstance(event, watch.Found):
                prices = [s.price_usd for s in event.servers]
                assert prices == sorted(prices)
                for found in event.servers:
                    assert found.price_usd < known.get(found.id, float("inf"))
                    known[found.id] = found.price_usd
        assert set(known) == set(look)


def steps(hand: Hand, session: Session, state: watch.MarketWatch, count: int) -> list[Any]:
    return [hand.play(watch.look(session, state)) for _ in range(count)]


def test_all_watches_share_a_request_and_keep_the_rhythm():
    """Twenty watches: one request per look, one look a minute, the last just before the end."""
    watches = [watch.Watch(listing.Filter(max_price_usd=n / 10), str(n)) for n in range(20)]
    state = watch.MarketWatch(watches, 60.0, 150.0)
    hand = Hand(lambda _call, _now: ok(servers=[record(1), record(2, 30.0)]))
    found = steps(hand, Session(), state, 4)
    assert hand.paths == ["marketplace"] * 3
    assert [len(events) for events in found[:3]] == [10, 0, 0]
    assert found[3] is None
    assert hand.now == 150.0


def test_watches_of_one_answer_share_its_models(records_of_all):
    """However many watches there are, each finds the servers that it would find alone."""
    session = Session(rules=Rules(has_key=False))
    bounds = (0.05, 0.1, 0.4, None)
    wishes = [listing.Filter(gpu=g, max_price_usd=m) for g in (None, "3090") for m in bounds]
    watches = [watch.Watch(wanted, str(wanted)) for wanted in wishes]
    hand = Hand(lambda _call, _now: ok(servers=records_of_all))
    hand.play(watch.look(session, watch.MarketWatch(watches, 60.0)))
    alone = [hand.play(listing.select(session, records_of_all, w)).servers for w in wishes]
    assert [[s.id for s in each.fits] for each in watches] == [[s.id for s in a] for a in alone]
    assert len(alone[3]) > len(alone[0]) > 0
    every = {s.id: s for s in watches[3].fits}
    assert all(every[s.id] is s for each in watches for s in each.fits)


@pytest.fixture(scope="module")
def records_of_all():
    return [json.loads(json.dumps(r)) for r in sample_fleet(0, 300)] + [{"no": "id"}]


def test_any_of_several_gpus_matches(records_of_all):
    both = listing.Filter(gpu=("RTX 3090", "rtx 4090"))
    found = [r["id"] for r in records_of_all if listing.fits(r, both)]
    ones = [listing.Filter(gpu=name) for name in ("RTX 3090", "RTX 4090")]
    assert found == [r["id"] for r in records_of_all if any(listing.fits(r, one) for one in ones)]
    assert len(found) > 1


def test_an_error_is_reported_once_and_an_empty_market_is_no_error():
    """Only a refused key ends the watch."""
    bad = reply({"code": 1}, 500)
    good, empty, key = ok(servers=[record(1)]), ok(servers=[]), reply({"code": 3}, 401)
    answers = itertools.chain([good], [bad] * 8, [cut()] * 4, [empty, good, key])
    hand, session = Hand(answers), Session()
    state = watch.MarketWatch([watch.Watch(listing.Filter())], 60.0)
    kinds = [[type(e).__name__ for e in events] for events in steps(hand, session, state, 6)]
    assert kinds == [["Found"], ["Trouble"], [], ["Trouble"], [], []]
    with pytest.raises(AuthError):
        steps(hand, session, state, 1)


# -- the shared look ---------------------------------------------------------------------------


def test_the_shared_file_is_used_only_while_valid(tmp_path):
    """It is ignored if it is old, damaged or from before a reboot; and it is private."""
    path = tmp_path / "home" / "shared" / "market-x.json"
    give_back = MarketFile(path).take(Instant(1000.0, 50.0))
    assert MarketFile(path).take(Instant(1000.0, 50.0)) is None
    # A process that read the clock just before the holder did does not ignore the file.
    assert MarketFile(path).take(Instant(999.99, 49.99)) is None
    give_back()
    MarketFile(path).put([record(1)], Instant(1000.0, 50.0))
    assert path.stat().st_mode & 0o077 == 0

    def kept(wall, mono, most_s=60.0):
        found = MarketFile(path).newest(Instant(wall, mono), most_s)
        return found and found.records

    assert kept(1059.0, 109.0) == [record(1)]
    assert kept(1060.0, 110.0) is None
    assert kept(1010.0, 10.0) is None
    assert kept(90_000.0, 60.0) is None
    path.write_text(path.read_text()[:-5])
    assert kept(1001.0, 51.0) is None
    path.write_bytes(b"\xff\n")
    assert kept(1001.0, 51.0) is None


def test_a_newer_look_of_another_process_is_shared(tmp_path):
    """Two processes of one folder that began apart fall into one rhythm."""
    path = tmp_path / "home" / "shared" / "market-x.json"
    hand = Hand(lambda _call, _now: ok(servers=[record(1)]))
    one, two = (Session(market=MarketFile(path)) for _ in range(2))
    states = [watch.MarketWatch([watch.Watch(listing.Filter())], 60.0) for _ in range(2)]
    hand.play(watch.look(one, states[0]))
    hand.now = 40.0
    assert len(hand.play(watch.look(two, states[1]))) == 1
    assert states[1].due == states[0].due == 60.0
    for _ in range(3):
        for session, state in zip((one, two), states):
            hand.play(watch.look(session, state))
    assert len(hand.sent) == 4


def test_a_stopped_process_or_a_read_only_folder_ends_no_watch(tmp_path):
    """The watch waits once for the stopped process, and reports the folder."""
    path = tmp_path / "home" / "shared" / "market-x.json"
    give_back = MarketFile(path).take(Instant(WALL, 0.0))
    hand = Hand(lambda _call, _now: ok(servers=[record(1)]))
    assert hand.play(watch.shared(Session(market=MarketFile(path)), 60.0)).records == [record(1)]
    assert 6 < hand.now < 7
    hand.now = before = 100.0
    assert hand.play(watch.shared(Session(market=MarketFile(path)), 60.0)).records == [record(1)]
    assert hand.now == before
    assert len(hand.sent) == 2
    give_back()
    later = MarketFile(path).take(Instant(WALL, 0.0))
    assert MarketFile(path).take(Instant(WALL + 5, 5.0)) is None  # its rhythm is its own
    later()
    (tmp_path / "file").write_text("")
    session = Session(market=MarketFile(tmp_path / "file" / "shared" / "market-x.json"))
    assert hand.play(watch.shared(session, 60.0)).records == [record(1)]
    assert "not shared" in session.trouble[0]


# -- both clients, the real marketplace --------------------------------------------------------


def take(api: Any, count: int, **options: Any) -> list[int]:
    """The first servers that `client.watch` yields."""
    if api._loop is None:
        return [s.id for s in itertools.islice(api.client.watch(**options), count)]

    async def read() -> list[int]:
        found: list[int] = []
        async for each in api.client.watch(**options):
            found.append(each.id)
            if len(found) == count:
                break
        return found

    return api._loop.run(read())


def test_servers_are_reported_as_they_appear(api_of, own_market):
    """First those that are there, then one that is released, despite faults; then the end."""
    market: Sandbox = own_market(provision=False)
    api = api_of(market)
    there = [s.id for s in api.marketplace(gpu="RTX 4090")]
    market.set_rented(there[0], True)
    api.fault("marketplace", "500")
    api.fault("marketplace", "cut_before")

    def give_back() -> None:
        while not [e for e in api.entries("marketplace")[1:] if e.status == 200]:
            time.sleep(0.02)
        market.set_rented(there[0], False)

    back = threading.Thread(target=give_back)
    back.start()
    found = take(api, len(there), gpu="RTX 4090", every=0.2)
    back.join()
    assert sorted(found) == sorted(there)
    assert found[-1] == there[0]
    asked = len(api.entries("marketplace"))
    assert take(api, 99, gpu="no such GPU", every=0.2, timeout=0.9) == []
    assert 2 <= len(api.entries("marketplace")) - asked <= 5
    with pytest.raises(ValueError, match="above 0"):
        take(api, 1, every=0)


PROCESS = """
import sys
from clore_ai import CloreAI
url, key, home = sys.argv[1:]
with CloreAI(key, url, state=home) as client:
    for server in client.watch(gpu="RTX", every=1.0, timeout=3.5):
        pass
"""


def test_watches_of_many_processes_share_one_request(own_market, tmp_path):
    """Four processes and ten threads, each with its own watch, send as many requests as one."""
    market: Sandbox = own_market(provision=False)
    words = (market.base_url, market.api_key, str(tmp_path / "home"))
    processes = [programs.start(PROCESS, *words) for _ in range(4)]
    with CloreAI(*words[1::-1], state=words[2]) as client:

        def one(number: int) -> None:
            list(client.watch(max_price_usd=0.1 * number, every=1.0, timeout=3.5))

        threads = [threading.Thread(target=one, args=(n,)) for n in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [process.communicate(timeout=60) for process in processes] == [("", None)] * 4
    entries = market.journal("marketplace")
    lasted = entries[-1].time - entries[0].time
    assert len(entries) <= lasted + 1.5
    (file,) = (tmp_path / "home" / "shared").glob("market-*.json")
    assert json.loads(file.read_text().splitlines()[0])["mono"] > 0


def test_a_cancelled_task_frees_the_lock_of_the_look(own_market):
    """The other watches go on if the task that held the lock is cancelled."""
    market: Sandbox = own_market(provision=False)
    market.fault("marketplace", "late", delay_s=5)

    async def main() -> int:
        async with AsyncCloreAI(market.api_key, market.base_url) as client:
            client.rate_limiter.min_interval = 0

            async def first() -> int:
                return (await client.watch(every=9).__anext__()).id

            stopped = asyncio.ensure_future(first())
            while not client._driver._running:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.02)
            stopped.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopped
            return await asyncio.wait_for(first(), 15)

    assert asyncio.run(main())
