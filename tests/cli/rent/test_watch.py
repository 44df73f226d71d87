"""`clore watch` reports or rents offers, despite faults, lost races and bad input."""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING, Any, Callable

import pytest
from leaks import answering
from tests.cli.conftest import environment
from tests.cli.driver import Clore, Renter, Terminal, interrupt
from waiting import until

from clore_sandbox import Sandbox

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

GPU = "RTX 4090"
RENT = ("--rent", "--yes", "--no-keeper")


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Renter]:
    """A renter in a marketplace of the test's own, where servers come and go on command."""
    home = tmp_path / ".clore"
    with Sandbox(limits=False, visibility_lag_s=0.1, boot_s=0.1) as market:
        env = environment(
            home,
            CLORE_BASE_URL=market.base_url,
            CLORE_API_KEY=market.api_key,
            CLORE_REQUESTS_PER_SECOND="1000",
        )
        yield Renter(home, env, market.api_key, market=market)


def offers(user: Renter, *words: object) -> list[dict[str, Any]]:
    """All free servers that fit, the cheapest first."""
    rows: list[dict[str, Any]] = user("search", "--limit", 999, "--json", *words).data
    return rows


def lines(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def test_once_lists_what_fits(alone: Renter) -> None:
    """Matching offers are listed in both units, cheapest first; exit 6 if there are none."""
    best, *others = offers(alone, "--gpu", GPU)
    done = alone("watch", "--gpu", GPU, "--once")
    assert f"server {best['id']}: 1x RTX 4090, ${best['price_usd_per_hour']:.4f}/h = $" in done.out
    assert "/day" in done.out.splitlines()[0]
    assert f"and {len(others) - 4} more" in done.err
    event = alone("watch", "--gpu", GPU, "--once", "--json").data
    assert [o["id"] for o in event["offers"]] == [o["id"] for o in (best, *others)][:20]
    assert (event["event"], event["offer"], event["watch"]) == ("offer", best, GPU)
    assert event["more"] == max(0, len(others) - 19)
    none = alone("watch", "--gpu", "H900", "--once", "--json", fails=6)
    assert none.error["code"] == "nothing_matched"
    late = alone("watch", "--gpu", "H900", "--every", 1, "--for", "0.03m", "--json", fails=8)
    assert late.error["code"] == "timed_out"
    assert "No offer came in 1s." in late.error["message"]


def test_offers_as_they_come_and_go(alone: Renter) -> None:
    """An offer is reported when it comes, goes and returns; Ctrl-C exits with 130."""
    server = offers(alone, "--gpu", GPU)[0]["id"]
    loop = alone.start("watch", "--gpu", GPU, "--every", 1, "--json")
    events = lines(loop)
    assert next(events)["offer"]["id"] == server
    alone.market.set_rented(server, True)
    gone = next(events)
    assert (gone["event"], gone["server_ids"]) == ("gone", [server])
    alone.fault("marketplace", "500", times=4)
    assert next(events)["event"] == "trouble"
    alone.market.set_rented(server, False)
    back = next(events)
    assert [o["id"] for o in back["offers"]] == [server]
    interrupt(loop)
    out, err = loop.communicate(timeout=20)
    assert (loop.returncode, out) == (130, ""), err
    assert "Stopped watching." in err
    alone.check(err)


def test_sigterm_ends_the_watch(alone: Renter) -> None:
    """SIGTERM ends the command as Ctrl-C does."""
    loop = alone.start("watch", "--gpu", "H900", "--every", 1)
    until(lambda: alone.market.journal("marketplace"), "a look")
    loop.send_signal(signal.SIGTERM)
    assert loop.wait(20) == 130
    loop.communicate()


def test_notifications_reach_a_command_and_an_address(alone: Renter, tmp_path: Path) -> None:
    """A command gets stdin and variables, an address gets JSON, and neither gets the key."""
    got, env = tmp_path / "got", tmp_path / "env"
    said: list[str] = []

    def answer(sent: str) -> tuple[int, str, str]:
        said.append(sent)
        return 200, "text/plain", "ok"

    with answering(answer) as address:
        words = ("watch", "--gpu", GPU, "--first", "--json", "--notify-cmd")
        command = f'cat > {got}; echo "$CLORE_SERVER_ID $CLORE_WATCH" > {env}'
        event = alone(*words, command, "--webhook", f"{address}/hook").data
    assert json.loads(got.read_text()) == event
    assert env.read_text() == f"{event['offer']['id']} {GPU}\n"
    (sent,) = said
    assert sent.startswith("/v1/hook ")
    assert json.dumps(event) in sent
    assert alone.key not in sent
    assert "auth" not in sent.lower()


def test_a_failed_notification_does_not_end_the_watch(alone: Renter) -> None:
    """Each failure is one sentence without the address, which may be a secret."""

    def refuse(_sent: str) -> tuple[int, str, str]:
        return 403, "text/plain", "no"

    words = ("watch", "--gpu", GPU, "--first", "--notify-cmd")
    with answering(refuse) as address:
        done = alone(*words, "echo broken >&2; exit 3", "--webhook", f"{address}/sEcret")
    assert "--notify-cmd ended with 3: broken. Still watching." in done.err
    assert "--webhook at 127.0.0.1: it answered with HTTP 403. Still watching." in done.err
    done = alone(*words, "no-such-program", "--webhook", "http://127.0.0.1:9/sEcret")
    assert "--notify-cmd ended with 127: " in done.err
    assert "it can't be reached" in done.err
    assert "sEcret" not in done.err


FILE = """
[[watch]]
name = "cheap ones"
gpu = "RTX 4090"
max-price = "0.3/h"

[[watch]]
gpu = "RTX 3090"
country = ["SE", "RU"]
"""


def test_watches_share_their_requests(alone: Renter, tmp_path: Path) -> None:
    """Two watches of a file in three processes send one request a look, and share its answer."""
    path = tmp_path / "watches.toml"
    path.write_text(FILE)
    done = alone("watch", "--file", path, "--once")
    assert "  cheap ones: server " in done.out
    assert "  watch 2: server " in done.out
    assert len(alone.market.journal("marketplace")) == 1
    cheap = {o["id"] for o in offers(alone, "--gpu", GPU, "--max-price", "0.3/h")}
    shown = [line for line in done.out.splitlines() if "cheap ones" in line]
    assert {int(line.split("server ")[1].split(":")[0]) for line in shown} == cheap

    words = ("watch", "--file", path, "--every", 1, "--for", "0.1m")
    before = len(alone.market.journal("marketplace"))
    many = [alone.start(*words) for _ in range(3)]
    for one in many:
        out, err = one.communicate(timeout=60)
        assert one.returncode == 0, err
        assert "cheap ones" in out
    asked = [entry.time for entry in alone.market.journal("marketplace")[before:]]
    assert 5 <= len(asked) <= asked[-1] - asked[0] + 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[[watch]]\nmax_prise = 3",
            "watch 1: there is no option 'max_prise'. Did you mean 'max-price'?",
        ),
        ("[[watch]]\nname='x'\nmax_price = 'no'", "x: Invalid value for '--max-price'"),
        ("[[watch]]\nrent = 'yes'", "watch 1: rent must be true or false"),
        ("[watch]\ngpu = 'x'", "holds no watch"),
        ("gpu = 'x'", "'gpu' is outside a [[watch]] table"),
        ("", "holds no watch"),
        ("[[watch", "is not valid TOML"),
        ("[[watch]]\nname='a'\n[[watch]]\nname='a'", "two watches have the name 'a'"),
        ("[[watch]]\nevery = 3", "there is no option 'every'"),
    ],
    ids=str,
)
def test_a_bad_watch_file_is_refused(new_user: Clore, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "watches.toml"
    path.write_text(text)
    assert said in new_user("watch", "--file", path, fails=2).err


def test_wrong_usage(new_user: Clore) -> None:
    """Each error is one sentence, reported before any request is sent."""
    for words, said in (
        (("--file", "/no/such/file"), "No such file"),
        (("--webhook", "ftp://host"), "--webhook is not an address"),
        (("--once", "--for", "6h"), "give one of them"),
        (("--for", "soon"), "write 90m, 6h, 2d"),
        (("--every", "0"), "--every"),
        (("--max-price", "cheap"), "0.5/h"),
        (("--rent",), "Add --yes"),
        (("--spot", "--max-bid", "0.4/h"), "--spot needs --rent"),
    ):
        assert said in new_user("watch", *words, fails=2).err


# -- renting -----------------------------------------------------------------------------------


def test_watch_rents_the_first_offer_once_at_its_price(alone: Renter) -> None:
    """The first offer is rented and verified; stdout has only its id, and the watch is over."""
    servers = [o["id"] for o in offers(alone, "--gpu", GPU)]
    for server in servers:
        alone.market.set_rented(server, True)
    loop = alone.start("watch", "--gpu", GPU, *RENT, "--every", 1)
    until(lambda: len(alone.market.journal("marketplace")) > 2, "some looks")
    alone.fault("create_order", "act_then_cut")
    alone.market.set_rented(servers[-1], False)
    out, err = loop.communicate(timeout=60)
    assert loop.returncode == 0, err
    (order,) = alone.orders()
    assert out == f"{order}\n"
    (made,) = alone.requests("create_order")
    assert made.body is not None
    assert made.body["renting_server"] == servers[-1]
    assert made.body["required_price"] > 0
    assert f"Rented: order {order} on server {servers[-1]}." in err
    alone("cancel", order)


def test_a_spot_watch_reports_the_lowest_bid_and_rents(alone: Renter) -> None:
    """Any of several GPUs will do; the output names the process that holds the bid afterwards."""
    words = ("--gpu", GPU, "--gpu", "no such GPU", *RENT, "--spot", "--max-bid", "2/h")
    done = alone("watch", *words, "--verify", "ssh")
    (order,) = alone("orders", "--json").data
    assert done.out == f"{order['id']}\n"
    assert order["type"] == "spot"
    assert "rented by spot as soon as it is offered, up to $2.0000/h = $48.00/day" in done.err
    found = next(line for line in done.err.splitlines() if f"server {order['server_id']}: " in line)
    per_hour = float(found.partition("$")[2].partition("/h")[0])
    assert f"at a bid of ${per_hour:.4f}/h…" in done.err
    assert f"clore spot auto {order['id']} --max 2/h" in done.err
    alone("cancel", order["id"])


def test_a_lost_race_keeps_waiting(alone: Renter) -> None:
    """Others rent every offer first, so nothing is rented until one server is free again."""
    seen = offers(alone, "--gpu", GPU, "--max-price", "0.3/h")
    words = ("watch", "--gpu", GPU, "--max-price", "0.3/h", *RENT, "--json")
    alone("watch", "--gpu", GPU, "--once")  # The look is shared by all watches.
    for offer in seen:
        alone.market.set_rented(offer["id"], True)
    lost = alone(*words, "--once", fails=6)
    assert alone.orders() == []
    assert len(alone.requests("create_order")) == len(seen)
    events = [json.loads(line)["event"] for line in lost.out.splitlines()]
    assert events == ["offer", "missed"]
    assert "Still watching" not in lost.err

    back = threading.Timer(1.5, alone.market.set_rented, (seen[0]["id"], False))
    back.start()
    done = alone(*words, "--every", 1)
    back.join()
    rented = json.loads(done.out.splitlines()[-1])
    assert (rented["event"], rented["server_id"]) == ("rented", seen[0]["id"])
    assert alone.orders() == [rented["order_id"]]
    assert rented["order"]["active"]


def test_a_ref_is_not_rented_twice(alone: Renter) -> None:
    words = ("watch", "--gpu", GPU, *RENT, "--verify", "none", "--ref", "mine")
    first, again = alone(*words).out, alone(*words).out
    assert first == again == f"{alone.orders()[0]}\n"
    assert len(alone.orders()) == 1


def test_budget_key_and_uncertain_order_end_the_watch(alone: Renter) -> None:
    """Waiting cannot help a budget or a refused key; an uncertain order is never resent."""
    words = ("watch", "--gpu", GPU, *RENT, "--every", 1)
    assert alone(*words, fails=3, CLORE_API_KEY="no-such-key-1234").err
    alone("budget", "set", "0.01/day")
    assert "budget" in alone(*words, fails=7).err
    assert alone.orders() == []


def test_each_watch_of_a_file_rents_once(alone: Renter, tmp_path: Path) -> None:
    """Stdout has one id per watch, and the command ends after the last."""
    path = tmp_path / "watches.toml"
    path.write_text(f"[[watch]]\ngpu = '{GPU}'\nrent = true\n" * 2)
    done = alone("watch", "--file", path, "-y", "--verify", "none")
    first, second = alone.orders()
    assert done.out == f"{first}\n{second}\n"
    alone("cancel", first, second)


def test_ctrl_c_during_a_rental_cancels_its_order(alone: Renter) -> None:
    """The message says what became of the order, which nothing bills any more."""
    words = ("watch", "--gpu", GPU, "--rent", "-y", "--verify-cmd", "sleep 60")
    loop = alone.start(*words)
    assert loop.stderr is not None
    assert any("Created order" in line for line in loop.stderr)
    interrupt(loop)
    out, err = loop.communicate(timeout=60)
    assert (loop.returncode, out) == (130, ""), err
    (order,) = alone.orders()
    assert f"Interrupted. Order {order} was cancelled; nothing runs." in err
    assert alone("orders", "--json").data == []


def test_renting_asks_first(alone: Renter, terminal: Callable[..., Terminal]) -> None:
    """On a terminal it asks, with No as the default; Ctrl-C while it waits rents nothing."""
    screen = terminal(alone)
    screen.start("clore watch --gpu H900 --max-price 0.3/h --rent")
    text = screen.wait("Rent when an offer comes? [y/N]:")
    assert "up to $0.3000/h = $7.20/day, plus fees" in text
    screen.keys("Enter")
    assert "Nothing was rented." in screen.wait("end=1")
    screen.start("clore watch --gpu H900 --rent -y")
    screen.wait("Checking every 60 s")
    screen.keys("C-c")
    assert "Stopped watching; nothing was rented." in screen.wait("end=130")
    assert alone.requests("create_order") == []
