"""`clore wallets` (004, CLI Reference)."""

from __future__ import annotations

import click

from clore_ai.cli import _output, _units
from clore_ai.cli._account import connect


@click.command()
@_output.json_option
def command(as_json: bool) -> None:  # noqa: FBT001 - an option
    """Show wallet balances.

    Each is in its own coin.
    """
    with connect() as api:
        wallets = api.wallets()
    if as_json:
        _output.data([w.model_dump() for w in wallets])
        return
    _output.table(
        ["Coin", ">Balance", ">Withdrawal fee", "Deposit address"],
        [
            [w.name, _units.coin(w.balance), _units.coin(w.withdrawal_fee), w.deposit or "-"]
            for w in wallets
        ],
        spare=["Withdrawal fee"],
    )
