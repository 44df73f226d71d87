"""`clore deploy` (004, CLI Reference): a contract with scripts, so it asks on a terminal only."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import _output, _state, _units

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.models import MarketplaceServer, Order, Wallet
    from clore_ai.rental.cost import Cost


@dataclass(frozen=True)
class _Plan:
    server: MarketplaceServer
    cost: Cost
    balance: float | None

    @property
    def lasts_h(self) -> float | None:
        """How long the wallet lasts, in hours."""
        if self.balance is None or not self.cost.total_per_day:
            return None
        left = self.balance - (self.cost.creation_fee or 0)
        return max(0.0, left / self.cost.total_per_day * 24)


@click.command()
@click.argument("server_id", type=int)
@click.option("--image", required=True, help="Docker image, e.g. cloreai/ubuntu22.04-cuda12.")
@click.option("--type", "kind", type=click.Choice(["on-demand", "spot"]), required=True)
@click.option(
    "--currency", required=True, help="bitcoin, CLORE-Blockchain or USD-Blockchain; the coin paid."
)
@click.option("--ssh-password", help="Password for SSH, up to 32 characters.")
@click.option("--ssh-key", help="Public key for SSH: its text.")
@click.option(
    "--ssh-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Public key for SSH: its file. Without any, clore makes and uses a key of its own.",
)
@click.option("--port", "ports", multiple=True, metavar="PORT:KIND",
              help="22:tcp or 8888:http; repeatable. Default: 22:tcp.")  # fmt: skip
@click.option("--env", multiple=True, metavar="KEY=VALUE", help="Repeatable.")
@click.option("--jupyter-token", help="Token for Jupyter, up to 32 characters.")
@click.option("--command", "startup", help="Command run at start-up.")
@click.option("--spot-price", type=float, help="Your bid, in the coin per DAY, whole server.")
@click.option("--wait", is_flag=True, help="Wait until SSH answers.")
@click.option("--wait-timeout", type=click.FloatRange(1), default=480, show_default=True,
              help="Seconds for --wait; then exit 8.")  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--dry-run", is_flag=True, help="Show the plan and the cost; rent nothing.")
@_output.json_option
def command(server_id: int, **options: Any) -> None:  # noqa: ANN401 - click's options, all read below
    """Rent server SERVER_ID: create a new order, and print its id.

    The plan with the price in both units, fees and balance goes to stderr. On a terminal it asks
    first; in a script it goes ahead.
    """
    from clore_ai.client import CloreAI  # noqa: PLC0415 - not for --help
    from clore_ai.rental import check  # noqa: PLC0415 - likewise

    text, identity = _key(options)
    wishes: dict[str, Any] = {
        "server_id": server_id,
        "image": options["image"],
        "type": options["kind"],
        "currency": options["currency"],
        "ssh_password": options["ssh_password"],
        "ssh_key": text,
        "ports": _ports(options["ports"]),
        "env": _env(options["env"]) or None,
        "jupyter_token": options["jupyter_token"],
        "command": options["startup"],
        "spot_price": options["spot_price"],
    }
    check.order_body(**wishes)  # refused before anything is sent
    with CloreAI() as api:
        plan = _plan(api, server_id, options)
        if options["kind"] == "on-demand":
            wishes["required_price"] = plan.cost.price_per_day
        _show(plan, options["kind"], options["image"])
        if options["dry_run"]:
            if options["as_json"]:
                _output.data(_plan_row(plan))
            return
        if not options["yes"] and sys.stdin.isatty() and sys.stderr.isatty():
            click.confirm("Rent it?", default=False, abort=True, err=True)
        order = _create(api, server_id, wishes)
        _state.remember(api.base_url, order.id, identity)
        _output.note(f"Rented: order {order.id} on server {server_id}.", bold=True)
        if options["wait"]:
            order = _wait(api, order, options["wait_timeout"])
    if options["as_json"]:
        from clore_ai.cli.orders import row  # noqa: PLC0415 - not for --help

        _output.data(row(order))
    else:
        click.echo(order.id)
    _output.note(f"Shell: clore ssh {order.id}   Stop paying: clore cancel {order.id}")


def _key(options: dict[str, Any]) -> tuple[str | None, Path | None]:
    """The public key to send, and the private key's file, if known."""
    given = [n for n in ("ssh_password", "ssh_key", "ssh_key_file") if options[n] is not None]
    if len(given) > 1:
        names = " and ".join("--" + n.replace("_", "-") for n in given)
        raise click.UsageError(f"Give only one of {names}.")
    if options["ssh_key_file"] is not None:
        return _state.key_file(options["ssh_key_file"])
    if options["ssh_key"] is not None:
        looks_like_path = "/" in options["ssh_key"] and " " not in options["ssh_key"].strip()
        if looks_like_path or options["ssh_key"].endswith(".pub"):
            raise click.UsageError(
                f"--ssh-key takes the key's text; for a file: --ssh-key-file {options['ssh_key']}"
            )
        return options["ssh_key"], None
    if options["ssh_password"] is not None:
        return None, None
    return _state.own_key()


def _ports(pairs: tuple[str, ...]) -> dict[str, str]:
    ports: dict[str, str] = {}
    for pair in pairs or ("22:tcp",):
        port, colon, kind = pair.partition(":")
        if not colon or kind not in ("tcp", "http") or not port.isdigit():
            raise click.UsageError(f"--port {pair!r}: write PORT:tcp or PORT:http, e.g. 22:tcp.")
        if port in ports:
            raise click.UsageError(f"--port {port} is given twice.")
        ports[port] = kind
    return ports


def _env(pairs: tuple[str, ...]) -> dict[str, str]:
    env: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--env {name!r}: write KEY=VALUE, e.g. --env {name or 'KEY'}=1")
        env[name] = value
    return env


def _plan(api: CloreAI, server_id: int, options: dict[str, Any]) -> _Plan:
    """The server and what it costs, or why it can't be rented.

    Raises:
        NotFoundError, FieldError: with the reasons that the service would give.
    """
    from clore_ai.exceptions import FieldError, NotFoundError  # noqa: PLC0415 - not for --help
    from clore_ai.rental import pick  # noqa: PLC0415 - likewise
    from clore_ai.rental.cost import cost  # noqa: PLC0415 - likewise

    everything = pick.Filter(available_only=False, id=server_id)
    found = api.drive(pick.marketplace(api.session, everything)).servers
    if not found:
        raise NotFoundError(f"There is no server {server_id}. List servers with: clore search")
    server, coin = found[0], options["currency"]
    if server.rented and options["kind"] == "on-demand":
        raise FieldError(
            f"Server {server_id} is already rented. Find another with: clore search",
            6,
            {"code": 6, "error": "server-already-rented"},
        )
    terms = cost(server, coin, options["kind"], options["spot_price"])
    if terms is None:
        known = server.price.on_demand.coins() if server.price and server.price.on_demand else []
        takes = ", ".join(c for c in known if server.allows(c)) or "no coin with a price"
        raise FieldError(
            f"Server {server_id} can't be paid in {coin!r}. It takes: {takes}.",
            6,
            {"code": 6, "error": "currency-not-allowed"},
        )
    return _Plan(server, terms, _balance(api.wallets(), coin))


def _balance(wallets: list[Wallet], coin: str) -> float | None:
    return next((w.balance for w in wallets if w.name == coin), None)


def _show(plan: _Plan, kind: str, image: str) -> None:
    s, c = plan.server, plan.cost
    per_h, total_h = c.price_usd_per_hour, c.total_usd_per_hour
    fee = "not known" if c.creation_fee is None else f"{_units.coin(c.creation_fee)} once"
    where = f"{s.location or '?'}, reliability " + (
        "-" if s.reliability is None else f"{s.reliability:.0%}"
    )
    lasts = "" if plan.lasts_h is None else f", lasts {_units.duration(plan.lasts_h * 3600)}"
    price = "bid" if kind == "spot" else "price"
    listed = f"{_units.coin(c.price_per_day)} {c.coin}/day"
    total = f"{_units.coin(c.total_per_day)} {c.coin}/day; creation fee {fee}"
    for name, value in (
        ("server", f"{s.id} ({where}, at most {s.mrl or '?'} h)"),
        ("GPUs", f"{s.gpu_model} ({_units.coin(s.vram_gb)} GB each), RAM {s.ram_gb or 0:.0f} GB"),
        ("image", f"{image}, {kind}"),
        (price, f"{_units.usd_h(per_h)} = {_units.usd_day(per_h)} = {listed}"),
        ("with fee", f"{_units.usd_h(total_h)} = {_units.usd_day(total_h)} = {total}"),
        ("balance", f"{_units.coin(plan.balance)} {c.coin}{lasts}"),
    ):
        _output.note(f"  {name:9} {value}")


def _plan_row(plan: _Plan) -> dict[str, Any]:
    c = plan.cost
    return {
        "server_id": plan.server.id,
        "gpu": plan.server.gpu_model,
        "currency": c.coin,
        "price_per_day": c.price_per_day,
        "fee_per_day": c.fee_per_day,
        "creation_fee": c.creation_fee,
        "price_usd_per_hour": c.price_usd_per_hour,
        "total_usd_per_hour": c.total_usd_per_hour,
        "total_usd_per_day": c.total_usd_per_day,
        "balance": plan.balance,
        "lasts_hours": plan.lasts_h,
    }


def _create(api: CloreAI, server_id: int, wishes: dict[str, Any]) -> Order:
    try:
        return api.create_order(**wishes)
    except KeyboardInterrupt:
        if not api.ledger.unsettled():
            raise KeyboardInterrupt("Interrupted; nothing was rented.") from None
        raise KeyboardInterrupt(
            f"Interrupted while renting server {server_id}: an order may exist and be billed. "
            "Look now with: clore orders"
        ) from None


def _wait(api: CloreAI, order: Order, timeout_s: float) -> Order:
    _output.note("Waiting for SSH (real machines take 1-6 minutes)…")
    try:
        return api.wait_for_ssh(order.id, timeout_s)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped waiting. Order {order.id} goes on and is billed: clore cancel {order.id}"
        ) from None
