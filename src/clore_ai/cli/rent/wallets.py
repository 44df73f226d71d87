"""`clore wallets` (004, CLI Reference)."""

from __future__ import annotations

import click

from clore_ai.cli import output
from clore_ai.cli.account import connect
from clore_ai.models import price as prices


@click.command()
@output.json_option
def command(as_json: bool) -> None:
    """Show wallet balances.

    Each balance is in its own coin.
    """
    with connect() as api:
        wallets = api.wallets()
    if as_json:
        output.data(wallets)
        return
    output.rows(
        wallets,
        {
            "Coin": lambda w: w.name,
            ">Balance": lambda w: prices.coin(w.balance),
            ">Withdrawal fee": lambda w: prices.coin(w.withdrawal_fee),
            "Deposit address": lambda w: w.deposit,
        },
        spare=["Withdrawal fee"],
    )
