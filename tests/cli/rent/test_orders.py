"""`clore deploy`, `orders`, `cancel`, `wallets`: renting, what it costs, and its end."""

from __future__ import annotations

import json
import re
import signal

import pytest
from served import ssh_answers
from tests.cli.driver import DEPLOY, Renter, interrupt
from waiting import until

USD = (*DEPLOY, "USD-Blockchain")


def test_a_rental_from_its_price_to_its_bill(renter: Renter) -> None:
    """Stdout holds the id of the order and nothing else; the plan and the bill go to stderr."""
    server = renter.server()
    price = next(
        s for s in renter("search", "--limit", 10_000, "--json").data if s["id"] == server
    )["price_per_day"]["on_demand"]["USD-Blockchain"]
    result = renter("deploy", server, *USD, "--wait")
    order = int(result.out)
    assert result.out == f"{order}\n"
    assert f"${price / 24:.4f}/h = ${price:.2f}/day" in result.err  # the price
    assert f"${price * 1.05 / 24:.4f}/h = ${price * 1.05:.2f}/day" in result.err  # with the fee
    assert "0.1 USD-Blockchain creation fee" in result.err
    assert "balance   1,000 USD-Blockchain" in result.err

    listed = renter("orders")
    (row,) = [line.split("\t") for line in listed.out.splitlines()[1:]]
    assert row[:2] == [str(order), str(server)]
    assert f"{price / 24:.4f}" in row
    assert f"{price:.2f}" in row
    assert "Stop paying: clore cancel ID" in listed.err

    paid = renter("cancel", order)
    assert f"Cancelled: order {order}." in paid.err
    assert "It ran " in paid.err
    assert "USD-Blockchain" in paid.err
    assert renter("orders").out == ""
    (ended,) = renter("orders", "--completed", "--json").data
    assert (ended["id"], ended["active"]) == (order, False)
    # Cancelled within ten minutes: one tick of one minute and its fee, no creation fee.
    left = float(renter.market.wallet(renter.key)["USD-Blockchain"])
    assert left == pytest.approx(1000 - price * 1.05 / 1440, abs=price / 1000)


def test_a_dry_run_rents_nothing(renter: Renter) -> None:
    """--dry-run shows the plan, also as JSON, and sends no order."""
    server = renter.server()
    plan = renter("deploy", server, *USD, "--dry-run", "--json").data
    assert plan["server_id"] == server
    assert plan["total_usd_per_day"] == pytest.approx(plan["price_usd_per_hour"] * 24 * 1.05)
    assert renter("deploy", server, *USD, "--dry-run").out == ""
    assert renter.requests("create_order") == []


def test_short_coin_names_and_the_cheapest_coin(renter: Renter) -> None:
    """Coins may be typed as tables show them; the plan names the coin that costs least."""
    assert any(_names_a_cheaper_coin(renter, renter.server()) for _ in range(10))


def _names_a_cheaper_coin(renter: Renter, server: int) -> bool:
    """Whether the plan for this server names a cheaper coin; it must if there is one."""
    names = {"btc": "bitcoin", "clore": "CLORE-Blockchain", "usd": "USD-Blockchain"}
    dry = ("--lease", "1d", "--dry-run")
    said = {c: renter("deploy", server, *DEPLOY, c, *dry).err for c in names}
    real: dict[str, float] = {}
    for coin, name in names.items():
        assert f" {name}/day" in said[coin]
        plan = renter("deploy", server, *DEPLOY, coin, *dry, "--json").data
        once = (plan["creation_fee"] or 0) * plan["price_usd_per_hour"] / plan["price_per_day"] * 24
        real[coin] = plan["total_usd_per_hour"] + once / plan["lease_hours"]
    least = min(real, key=lambda coin: real[coin])
    for coin, text in said.items():
        less = rf"It costs less in {names[least]}: \$([\d.]+)/h.* over 1d with all fees; this is "
        found = re.search(less + r"\$([\d.]+)/h", text)
        assert (found is not None) == (real[least] < real[coin] * 0.97)
        if found:  # rounded
            said_usd = [float(usd) for usd in found.groups()]
            assert said_usd == pytest.approx([real[least], real[coin]], abs=0.0001)
    return any("It costs less" in text for text in said.values())


def test_a_bid_above_the_on_demand_price_is_warned_of(renter: Renter) -> None:
    """A bid above the on-demand price in the cheapest coin is pointed out."""
    server, dry = renter.server(), ("--dry-run", "--json")
    plans = [renter("deploy", server, *DEPLOY, c, *dry).data for c in ("usd", "btc", "clore")]
    listed = [plan["price_usd_per_hour"] * 24 for plan in plans]
    spot = ("--image", "img", "--type", "spot", "--currency", "usd", "--dry-run", "--spot-price")
    assert "On demand it costs less" in renter("deploy", server, *spot, max(listed) * 2).err
    assert "On demand" not in renter("deploy", server, *spot, min(listed) * 0.8).err


def test_orders_paid_in_a_coin_show_usd(renter: Renter) -> None:
    """An order paid in bitcoin shows its price in USD too, per hour and per day."""
    server = renter.server()
    plan = renter("deploy", server, *DEPLOY, "bitcoin", "--dry-run", "--json").data
    order = int(renter("deploy", server, *DEPLOY, "bitcoin").out)
    (row,) = renter("orders", "--json").data
    assert row["price_usd_per_hour"] == pytest.approx(plan["price_usd_per_hour"], rel=0.05)
    assert row["price_usd_per_day"] == pytest.approx(row["price_usd_per_hour"] * 24)
    line = renter("orders").out.splitlines()[1].split("\t")
    assert f"{row['price_usd_per_hour']:.4f}" in line
    renter("cancel", order)


def test_secrets_are_never_printed(renter: Renter) -> None:
    """Password, token, environment and start-up command appear in no output, JSON included."""
    renter.secrets = ["Passw0rdSecret", "Jupyter-Token", "env-value-secret", "start-secret"]
    words = (
        "--ssh-password", "Passw0rdSecret", "--jupyter-token", "Jupyter-Token",
        "--env", "TOKEN=env-value-secret", "--command", "echo start-secret", "--port", "22:tcp",
    )  # fmt: skip
    row = renter("deploy", renter.server(), *USD, *words, "--json", "--wait").data
    assert row["ssh_port"]
    assert row["ssh_command"].startswith("ssh root@")
    for how in ((), ("--json",)):
        renter("orders", *how)
        renter("orders", "--completed", *how)
    renter("deploy", row["server_id"], *USD, *words, fails=1)  # taken, by this user
    renter("deploy", 1, *USD, *words, "--json", fails=4)
    renter("cancel", row["id"], "--json")
    key_files = [p for p in renter.home.rglob("*") if p.is_file()]
    for file in key_files:
        for secret in renter.secrets:
            assert secret.encode() not in file.read_bytes()


def test_deploy_does_not_ask_in_a_script(renter: Renter) -> None:
    """Without a terminal `deploy` goes ahead, as scripts written for document 004 expect."""
    result = renter("deploy", renter.server(), *USD, stdin="n\n")
    assert "Rent it?" not in result.err
    renter("cancel", result.out.strip())


def test_ctrl_c_while_renting(renter: Renter) -> None:
    """Before the order is sent nothing is rented; later, the user should check. Exit 130."""
    server = renter.server()
    late = renter.fault("my_orders", "late", delay_s=40)
    process = renter.start("deploy", server, *USD)
    until(lambda: renter.happened(late), "the look before the order")
    interrupt(process)
    _, err = process.communicate(timeout=40)
    renter.check(err)
    assert process.returncode == 130
    assert "nothing was rented" in err
    assert renter.orders() == []

    renter.market.clear_faults()
    renter.fault("create_order", "late", delay_s=40)
    process = renter.start("deploy", server, *USD, "--json")
    # The order is made, though its answer is still held back.
    until(lambda: server not in {s["id"] for s in free(renter)}, "the order")
    interrupt(process)
    out, err = process.communicate(timeout=40)
    renter.check(err)
    assert (process.returncode, out) == (130, "")
    error = json.loads(err.splitlines()[-1])
    assert (error["code"], error["exit"]) == ("interrupted", 130)
    assert "an order may exist and be billed" in error["message"]
    assert "clore orders" in error["message"]
    # The order does exist, and is listed a moment after it was made.
    (row,) = until(lambda: renter("orders", "--json").data, "the order in the list")
    # The order has clore's own key, so it can be used once it has booted.
    until(lambda: ssh_answers(renter("orders", "--json").data[0]["ssh_port"]), "SSH")
    assert renter("ssh", row["id"], "--json").data["port"]
    renter("cancel", row["id"])


def free(renter: Renter) -> list[dict[str, int]]:
    import httpx

    servers = httpx.get(f"{renter.market.base_url}/marketplace").json()["servers"]
    return [s for s in servers if not s["rented"]]


def test_ctrl_c_while_waiting(renter: Renter) -> None:
    """The order goes on; stdout has its id, and stderr says how to cancel it. Exit 130."""
    renter.fault("create_order", "never_boots")
    process = renter.start("deploy", renter.server(), *USD, "--wait")
    assert process.stdout is not None
    order = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"clore cancel {order}" in err
    assert renter.orders() == [order]
    renter("cancel", order)


def test_wallets_show_each_balance_in_its_coin(renter: Renter) -> None:
    """Each balance is shown in its own coin."""
    lines = [line.split("\t") for line in renter("wallets").out.splitlines()]
    assert {line[0]: line[1] for line in lines[1:]} == {
        "bitcoin": "1",
        "CLORE-Blockchain": "100,000",
        "USD-Blockchain": "1,000",
    }
    assert {w["name"]: w["balance"] for w in renter("wallets", "--json").data}["bitcoin"] == 1


def test_spot_and_hosting(renter: Renter) -> None:
    """The lowest bid is shown in the coin and in both units of USD.

    An on-demand order has no bid to change, and an account without servers gets a message.
    """
    server = renter.server()
    said = renter("spot", server).err
    assert " USD-Blockchain/day ($" in said
    assert "/h = $" in said
    market = renter("spot", server, "--json").data
    assert market["server"]["min_pricing"]["USD-Blockchain"] > 0

    order = int(renter("deploy", server, *USD).out)
    assert "on-demand" in renter("spot-price", order, 1, fails=2).err
    renter("cancel", order)

    assert renter("servers").err == "You host no servers.\n"
    assert renter("servers", "--json").data == []


def test_a_password_and_a_key_can_be_combined(renter: Renter) -> None:
    """Both are sent; the password is also set in the environment, where official images read it."""
    key = "ssh-ed25519 " + "A" * 68
    way_in = ("--ssh-password", "hunter22", "--ssh-key", key, "--jupyter-token", "t0ken")
    renter("deploy", renter.server(), *DEPLOY, "usd", *way_in)
    (sent,) = renter.requests("create_order")
    assert sent.body["ssh_key"] == key
    assert {"ssh_password", "jupyter_token"} <= set(sent.body)
    assert set(sent.body["env"]) == {"SSH_PASSWORD", "JUPYTER_TOKEN"}
