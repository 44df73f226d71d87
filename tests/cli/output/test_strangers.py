"""Text from hosts and machines is shown as plain text on a user's terminal."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from leaks import answering

import clore_ai.cli
from clore_ai._values.variables import exports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.driver import Clore, Terminal

EVIL = (
    "\x1b[2J\x1b]52;c;ZXZpbA==\x07\x9b31m\x85\u202egnp\u2066\u200b\u2028\ufeff\x00\x7f\ud800"
    "\r\nrow\ttwo\n=cmd $(touch pwned); `touch pwned` '\"" + "x" * 12_000
)
KEY = "a-key-of-this-test"
GPU = "RTX 4090"


def server(number: int, text: str) -> dict[str, Any]:
    """A listing with `text` in every text field."""
    return {
        "id": number, "owner": 3, "mrl": 72, "rented": False, "reliability": 0.99,
        "price": {"on_demand": {"bitcoin": 0.0001, "USD-Blockchain": 4.8, text: 1},
                  "spot": {"bitcoin": 0.0001, "USD-Blockchain": 2.4, text: 1},
                  "usd": {"on_demand_btc": 5.0, "on_demand_usd": 4.8}, text: text},
        "specs": {"gpu": f"1x {GPU}{text}", "cpu": text, "cpus": text, "mb": text, "ram": 64.0,
                  "disk": f"{text} 100GB", "gpuram": 24, "backend_version": text,
                  "net": {"cc": text, "up": 9.0, "down": 9.0}, text: [text, {text: text}]},
        "gpu_array": [[f" {GPU}{text}"]], "allowed_coins": ["bitcoin", "USD-Blockchain", text],
        "cuda_version": text, "autoprice": text, text: text,
    }  # fmt: skip


def order(number: int, text: str) -> dict[str, Any]:
    """A running order with `text` in every text field."""
    return {
        "id": number, "si": 7, "ct": time.time() - 600, "price": 2.0, "spend": 0.01,
        "currency": text, "image": text, "status": text, "type": text, "mon_container": 2,
        "online": True, "specs": {"gpu": text, "cpu": text, "net": {"cc": text}},
        "gpu_array": [text],
        "pub_cluster": [text, f"-o{text}"], "tcp_ports": ["22:1972", f"{text}:9"], "http_pub": text,
        "created_at": text, "cuda_version": text, "fee": text, text: {text: text},
    }  # fmt: skip


def bodies(text: str) -> dict[str, dict[str, Any]]:
    """The answers of each endpoint; the last of each list is an honest one."""
    mine = {"name": text, "connected": True, "online": True, "visibility": text,
            "pricing": {text: 1.0}, "specs": {"gpu": text}, "allowed_coins": [text],
            "spot_pricing": {text: 2.0}}  # fmt: skip
    return {
        "marketplace": {"servers": [server(8, text), server(10**30, text), server(9, "")]},
        "my_orders": {"orders": [order(101, text), order(-1, text), order(102, "x")]},
        "wallets": {"wallets": [{"name": text, "balance": 1.0, "deposit": text},
                                {"name": "bitcoin", "balance": 1.0, "deposit": "bc1"}]},
        "my_servers": {"servers": [{"id": 1, **mine}, {"id": 2, **mine, "name": "b"}]},
        "server_config": {"config": {"id": 1, **mine, "background_job": {"image": text}}},
        "spot_marketplace": {"market": {
            "currency_rates_in_usd": {"bitcoin": 50_000, text: 1.0},
            "offers": [{"offer_id": 1, "bid": 2.0, "currency": text}, {"offer_id": 2, "bid": 1.0}],
            "server": {"min_pricing": {text: 1.0}, "visibility": text},
        }},
        "create_order": {"code": 6, "error": text},
        "cancel_order": {"code": 6, "error": text},
        "set_spot_price": {"code": 6, "error": text},
    }  # fmt: skip


@contextmanager
def service(text: str) -> Iterator[str]:
    """The address of a service that returns these bodies."""
    known = {path: json.dumps({"code": 0, **body}) for path, body in bodies(text).items()}

    def answer(sent: str) -> tuple[int, str, str]:
        path = sent.partition(" ")[0].partition("?")[0].rpartition("/")[2]
        return 200, "application/json", known[path]

    with answering(answer) as address:
        yield address


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    with service(EVIL) as address:
        yield address


@pytest.fixture
def user(new_user: Clore, hostile: str) -> Clore:
    """A user of a hostile service."""
    return new_user.with_(
        CLORE_BASE_URL=hostile, CLORE_API_KEY=KEY, CLORE_REQUESTS_PER_SECOND="1000"
    )


def lines(text: str) -> list[str]:
    """The lines of the output, each of which is printable."""
    found = text.split("\n")
    for line in found:
        assert line.replace("\t", "").isprintable(), ascii(line)
        assert len(line) < (400_000 if line.startswith(("{", "[{")) else 20_000)
    return found[:-1]


TABLES = {  # the number of rows of each
    "search": 2, "orders": 2, "wallets": 2, "servers": 2, "spot 7": 2, "orphans": 2, "lease": 2,
    "server-config x": 13,
}  # fmt: skip
UNREAD = ("orders", "orphans", "lease")
"""One row cannot be read there, and may be a running order."""
OTHERS = [
    "monitor --once --no-gpu", "watch --once --gpu RTX", "search --gpu H999", "orders --completed",
    "ledger", "ledger --csv", "ledger --by gpu", "budget",
    "deploy 8 --dry-run --image i --type on-demand --currency bitcoin",
    "deploy 8 --dry-run --image i --type on-demand --currency nonesuch",
    "rent --dry-run --gpu RTX --top 5", "rent --dry-run --gpu H999",
    "rent --dry-run --currency bitcoin", "cancel 101 --wait-timeout 2s",
    "cancel --all --others --yes --wait-timeout 2s", "ssh 101", "ssh 999",
    "spot-price 101 3 -y", "lease set 101 2h", "rent --gpu RTX -y --verify none --no-keeper",
    "orphans --adopt all", "hosts",
]  # fmt: skip
JSON = ["search", "orders", "wallets", "servers", "spot 7", "orphans", "lease", "hosts",
        "server-config x", "ledger", "ssh 101", "cancel 101 --wait-timeout 2s",
        "rent --dry-run --gpu RTX", "watch --once --gpu RTX",
        "monitor --once --no-gpu"]  # fmt: skip


@pytest.mark.parametrize("words", TABLES)
def test_each_record_is_one_line(user: Clore, words: str) -> None:
    """There are as many lines as records, with equal columns, whatever text a field holds."""
    done = user(*words.split(), fails=1 if words in UNREAD else 0)
    head, *rows = lines(done.out)
    assert len(rows) == TABLES[words]
    assert {row.count("\t") for row in rows} == {head.count("\t")}
    lines(done.err)


@pytest.mark.parametrize("words", OTHERS)
def test_every_command_prints_plain_text(user: Clore, words: str, tmp_path: Path) -> None:
    """Documented exit code, printable lines of limited length, no bug report."""
    done = _any_end(user, *words.split())
    lines(done.out)
    lines(done.err)
    assert done.code in (0, 1, 2, 4, 6, 7, 8, 9), done
    assert "This is a bug" not in done.err
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("words", JSON)
def test_json_holds_clean_text(user: Clore, words: str) -> None:
    """Stdout has clean text, as in a table; an error is one object on one line."""
    done = _any_end(user, *words.split(), "--json")
    for line in lines(done.out):
        for text in _texts(json.loads(line)):
            assert text.isprintable(), ascii(text)
            assert len(text) < 10_000  # One sentence may quote two texts.
    for line in lines(done.err):
        if line.startswith("{"):
            assert all(text.isprintable() for text in _texts(json.loads(line)))


def _any_end(user: Clore, *words: str) -> Any:
    return user(*words, fails=None, inside="ssh" not in words)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from _texts(inner)


def test_debug_output_is_plain_text(user: Clore) -> None:
    """The parts of each answer that --debug prints are just as clean."""
    done = user("--debug", "orders", fails=1)
    assert "< GET /v1/my_orders" in done.err
    lines(done.err)


def test_an_order_with_an_invalid_host_has_no_ssh_address(user: Clore) -> None:
    """The invalid host is not tried, not shown, and not passed to ssh."""
    assert "Order 101 has no SSH address yet" in user("ssh", 101, fails=8).err
    rows = [line.split("\t") for line in user("orders", fails=1).out.splitlines()]
    assert [row[rows[0].index("SSH")] for row in rows] == ["SSH", "-", "x:1972"]


def test_a_table_on_a_terminal_stays_intact(user: Clore, terminal: Any) -> None:
    """The table keeps its lines, and the screen is intact."""
    shell: Terminal = terminal(user, width=160)
    screen = shell.run("echo before; clore search")
    assert "before" in screen
    rows = [line for line in screen.splitlines() if line.startswith((" 8 ", " 9 ", "8 ", "9 "))]
    assert len(rows) == 2
    assert "end=0" in screen


def test_a_character_the_terminal_cannot_show(new_user: Clore) -> None:
    """A search does not fail on it."""

    def answer(_sent: str) -> tuple[int, str, str]:
        return 200, "application/json", json.dumps({"code": 0, "servers": [server(8, "Ж 🚀")]})

    with answering(answer) as address:
        done = new_user.with_(CLORE_BASE_URL=address)("search", PYTHONIOENCODING="latin-1")
    assert "RTX 4090? ?" in done.out


def test_notifications_run_despite_odd_fields(user: Clore, tmp_path: Path) -> None:
    """A long, odd field does not stop a notification; it arrives as text, not as a command."""
    got, env = tmp_path / "got", tmp_path / "env"
    said: list[str] = []

    def hook(sent: str) -> tuple[int, str, str]:
        said.append(sent)
        return 200, "text/plain", "ok"

    # A variable of the environment holds 128 KiB at most.
    with answering(hook) as address, service(EVIL + "x" * 140_000) as hostile:
        command = f"cd {shlex.quote(str(tmp_path))}; cat > {got}; env > {env}"
        words = ("watch", "--gpu", GPU, "--once", "--notify-cmd", command)
        done = user(*words, "--webhook", f"{address}/hook", CLORE_BASE_URL=hostile)
    assert "Still watching" not in done.err
    assert not list(tmp_path.rglob("pwned"))
    gpu = next(line for line in lines(env.read_text()) if line.startswith("CLORE_GPU="))
    assert gpu.startswith(f"CLORE_GPU=1x {GPU}")
    assert "$(touch pwned); `touch pwned` '\"" in gpu
    assert len(gpu) <= 220
    event = json.loads(got.read_text())
    assert all(text.isprintable() and len(text) <= 200 for text in _texts(event))
    assert json.dumps(event) in said[0]


def test_an_oversized_offer_is_shortened(new_user: Clore, tmp_path: Path) -> None:
    """Endless fields are left out of a notification; server and price are there."""
    swollen = {
        **server(8, ""),
        "specs": {"gpu": GPU, **{f"field {n}": "x" * 90 for n in range(9_000)}},
    }

    def answer(_sent: str) -> tuple[int, str, str]:
        return 200, "application/json", json.dumps({"code": 0, "servers": [swollen]})

    got = tmp_path / "got"
    with answering(answer) as address:
        user = new_user.with_(CLORE_BASE_URL=address)
        user("watch", "--gpu", GPU, "--once", "--notify-cmd", f"cat > {got}")
    assert got.stat().st_size < 64_000
    offer = json.loads(got.read_text())["offer"]
    assert (offer["id"], round(offer["price_usd_per_hour"], 9)) == (8, 0.2)


def test_a_spreadsheet_gets_no_formula(user: Clore) -> None:
    """In the CSV a text of the service that looks like a formula stays text."""
    from clore_ai.rental.reports.costs import cell

    assert cell("gpu", "=cmd|' /C calc'!A0") == "'=cmd|' /C calc'!A0"
    assert cell("reason", "@x\ny") == "'@x y"
    assert cell("ref", "-x") == "-x"
    assert cell("key", "-") == "-"
    assert cell("spend", -1.5) == -1.5


def test_settings_for_a_shell_are_quoted() -> None:
    """`eval` of what `clore sandbox status` prints sets exactly the printed values."""
    value = "x'; touch pwned; echo \"$(touch pwned)`touch pwned`\\ \n"
    script = 'eval "$(cat)"; printf %s "$A"'
    script_input = exports({"A": value, "B": "b"})
    done = subprocess.run(
        ["sh", "-c", script], input=script_input, capture_output=True, text=True, check=True
    )
    assert done.stdout == value


def test_all_printing_goes_through_the_filter() -> None:
    """Commands use `output`, errors `errors`; files that print only fixed text are listed."""
    own = {
        "output.py", "errors.py", "debug.py",
        "recover.py",  # the line end
        "ledger.py",  # CSV, cell by cell
        "sandbox.py",  # exports, which are quoted
        "demo.py",  # the output of another clore
    }  # fmt: skip
    past: list[str] = []
    for path in sorted(Path(clore_ai.cli.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in (
                    "print",
                    "click.echo",
                    "click.secho",
                    "sys.stdout.write",
                    "sys.stderr.write",
                ):
                    past.append(path.name)
    assert set(past) <= own
