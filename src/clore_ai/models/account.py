"""Wallets, and the envelope that every answer comes in."""

from __future__ import annotations

from typing import Any

from clore_ai.models._base import Model, Whole


class Wallet(Model):
    """One wallet of the account (``GET wallets``; service.md, 3)."""

    name: str
    """``"bitcoin"``, ``"CLORE-Blockchain"`` or ``"USD-Blockchain"``."""
    deposit: str | None = None
    """Deposit address; missing for some wallets."""
    balance: float | None = None
    """In the wallet's own coin. None (not 0) if the service sends no balance."""
    withdrawal_fee: float | None = None
    """In the wallet's own coin."""


class APIResponse(Model):
    """The envelope: an integer `code`, 0 on success, and the call's own result."""

    code: Whole
    message: str | None = None
    data: Any | None = None
