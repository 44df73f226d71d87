"""Each control over HTTP: its parameters and answer as JSON Schema, and the call it makes.

The schemas are what http.py checks a request by and what openapi.py publishes, so that they cannot
differ. Parameters that are not named here are refused: a control that is misspelt must not pass.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from clore_sandbox.control import schemas
from clore_sandbox.market.clock import MAX_SPEED
from clore_sandbox.values.money import COINS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from clore_sandbox.control import Amount, Control
    from clore_sandbox.faults.faults import FaultKind
    from clore_sandbox.values.kinds import JsonObject

__all__ = ["OPERATIONS", "Operation"]


@dataclass(frozen=True)
class Operation:
    """One control. `params` and `result` give the schema of each field; the rest is required."""

    method: Literal["GET", "POST"]
    name: str
    summary: str
    call: Callable[[Control, JsonObject], Awaitable[JsonObject]]
    params: Mapping[str, JsonObject] = field(default_factory=dict[str, "JsonObject"])
    required: tuple[str, ...] = ()
    result: Mapping[str, JsonObject] = field(default_factory=dict[str, "JsonObject"])
    #: Longer than any body but a snapshot is.
    max_body: int = 1_000_000


async def _clock(control: Control, _: JsonObject) -> JsonObject:
    return asdict(await control.clock())


async def _speed(control: Control, given: JsonObject) -> JsonObject:
    await control.speed(cast("float", given["factor"]))
    return await _clock(control, given)


async def _jump(control: Control, given: JsonObject) -> JsonObject:
    await control.jump(cast("float", given["seconds"]))
    return await _clock(control, given)


async def _freeze(control: Control, given: JsonObject) -> JsonObject:
    await control.freeze()
    return await _clock(control, given)


async def _unfreeze(control: Control, given: JsonObject) -> JsonObject:
    await control.unfreeze()
    return await _clock(control, given)


async def _fault(control: Control, given: JsonObject) -> JsonObject:
    # The schema has said what each is.
    number = await control.fault(
        cast("str", given["endpoint"]),
        cast("FaultKind", given["kind"]),
        times=cast("int | None", given.get("times", 1)),
        key=cast("str | None", given.get("key")),
        probability=cast("float", given.get("probability", 1)),
        delay_s=cast("float | None", given.get("delay_s")),
        fields=cast("list[str]", given.get("fields", [])),
    )
    return {"id": number}


async def _faults(control: Control, _: JsonObject) -> JsonObject:
    return {"faults": [fault.to_json() for fault in await control.faults()]}


async def _remove_fault(control: Control, given: JsonObject) -> JsonObject:
    await control.remove_fault(cast("int", given["fault_id"]))
    return {}


async def _clear_faults(control: Control, _: JsonObject) -> JsonObject:
    await control.clear_faults()
    return {}


async def _create_account(control: Control, given: JsonObject) -> JsonObject:
    key = await control.create_account(
        cast("Mapping[str, Amount] | None", given.get("balances")),
        cast("str | None", given.get("api_key")),
    )
    return {"api_key": key}


async def _rotate_key(control: Control, given: JsonObject) -> JsonObject:
    key = await control.rotate_key(
        cast("str", given["old_key"]), cast("str | None", given.get("new_key"))
    )
    return {"api_key": key}


async def _accounts(control: Control, _: JsonObject) -> JsonObject:
    found = await control.accounts()
    return {
        "accounts": [
            {"key": a.key, "wallets": {coin: f"{n:f}" for coin, n in a.wallets.items()}}
            for a in found
        ]
    }


async def _wallet(control: Control, given: JsonObject) -> JsonObject:
    coins = await control.wallet(cast("str | None", given.get("key")))
    return {"wallet": {coin: f"{amount:f}" for coin, amount in coins.items()}}


async def _top_up(control: Control, given: JsonObject) -> JsonObject:
    await control.top_up(
        cast("str | None", given.get("key")),
        cast("str", given["coin"]),
        cast("float | str", given["amount"]),
    )
    return await _wallet(control, given)


async def _set_rented(control: Control, given: JsonObject) -> JsonObject:
    await control.set_rented(cast("int", given["server_id"]), rented=bool(given["rented"]))
    return {}


async def _set_online(control: Control, given: JsonObject) -> JsonObject:
    await control.set_online(cast("int", given["server_id"]), online=bool(given["online"]))
    return {}


async def _add_server(control: Control, given: JsonObject) -> JsonObject:
    number = await control.add_server(
        cast("str | None", given.get("owner_key")),
        cast("str", given.get("name", "MyGPU")),
        cast("JsonObject | None", given.get("record")),
        connected=bool(given.get("connected", True)),
    )
    return {"server_id": number}


async def _connect_server(control: Control, given: JsonObject) -> JsonObject:
    number = await control.connect_server(
        cast("str | None", given.get("owner_key")), cast("str", given.get("name", "MyGPU"))
    )
    return {"server_id": number}


async def _set_background_job(control: Control, given: JsonObject) -> JsonObject:
    await control.set_background_job(
        cast("str | None", given.get("owner_key")),
        cast("str", given.get("name", "MyGPU")),
        image=cast("str", given["image"]),
        command=cast("str", given.get("command", "")),
        env=cast("dict[str, str]", given.get("env", {})),
    )
    return {}


async def _reset(control: Control, _: JsonObject) -> JsonObject:
    await control.reset()
    return {}


async def _snapshot(control: Control, _: JsonObject) -> JsonObject:
    return {"snapshot": await control.snapshot()}


async def _load(control: Control, given: JsonObject) -> JsonObject:
    await control.load(cast("JsonObject", given["snapshot"]))
    return {}


async def _journal(control: Control, given: JsonObject) -> JsonObject:
    endpoint, after = given.get("endpoint"), cast("int", given.get("after", 0))
    entries = await control.journal(cast("str | None", endpoint), after=after)
    return {"journal": [entry.to_json() for entry in entries]}


async def _clear_journal(control: Control, _: JsonObject) -> JsonObject:
    await control.clear_journal()
    return {}


_NEW_KEY = schemas.optional(
    schemas.text(pattern="^[!-~]([ -~]*[!-~])?$", description="null: one is drawn.")
)
_ALL = (
    Operation("GET", "clock", "Market time, and how it passes", _clock, result=schemas.CLOCK),
    Operation(
        "POST",
        "speed",
        "Have so many market seconds pass in a second",
        _speed,
        {"factor": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SPEED}},
        ("factor",),
        schemas.CLOCK,
    ),
    Operation(
        "POST",
        "jump",
        "Move market time ahead, with all that falls due on the way",
        _jump,
        {"seconds": {"type": "number", "minimum": 0, "maximum": 10_000_000_000}},
        ("seconds",),
        schemas.CLOCK,
    ),
    Operation("POST", "freeze", "Have market time stand still", _freeze, result=schemas.CLOCK),
    Operation("POST", "unfreeze", "Have market time go on", _unfreeze, result=schemas.CLOCK),
    Operation(
        "POST",
        "fault",
        "Misbehave, once or with a probability",
        _fault,
        schemas.FAULT_FIELDS,
        ("endpoint", "kind"),
        {"id": {"type": "integer"}},
    ),
    Operation(
        "GET",
        "faults",
        "The faults that wait",
        _faults,
        result={"faults": {"type": "array", "items": schemas.FAULT}},
    ),
    Operation(
        "POST",
        "remove_fault",
        "Take one fault back",
        _remove_fault,
        {"fault_id": {"type": "integer"}},
        ("fault_id",),
    ),
    Operation("POST", "clear_faults", "Misbehave no more", _clear_faults),
    Operation(
        "POST",
        "create_account",
        "A new account",
        _create_account,
        {
            "balances": {**schemas.COINS, "type": ["object", "null"]},
            "api_key": _NEW_KEY,
        },
        (),
        {"api_key": schemas.text()},
    ),
    Operation(
        "POST",
        "rotate_key",
        "An account gets another key; its old one opens nothing any more",
        _rotate_key,
        {"old_key": schemas.text(), "new_key": _NEW_KEY},
        ("old_key",),
        {"api_key": schemas.text()},
    ),
    Operation(
        "GET",
        "accounts",
        "Every account with its key and its exact coins",
        _accounts,
        result={
            "accounts": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["key", "wallets"],
                    "properties": {"key": schemas.text(), "wallets": schemas.WALLETS},
                },
            }
        },
    ),
    Operation(
        "POST",
        "wallet",
        "The exact coins of an account",
        _wallet,
        {"key": schemas.KEY},
        (),
        {"wallet": schemas.WALLETS},
    ),
    Operation(
        "POST",
        "top_up",
        "Add coins to an account",
        _top_up,
        {"key": schemas.KEY, "coin": schemas.text(enum=list(COINS)), "amount": schemas.AMOUNT},
        ("coin", "amount"),
        {"wallet": schemas.WALLETS},
    ),
    Operation(
        "POST",
        "set_rented",
        "Somebody else rents a server, or gives it back",
        _set_rented,
        {"server_id": schemas.SERVER, "rented": {"type": "boolean"}},
        ("server_id", "rented"),
    ),
    Operation(
        "POST",
        "set_online",
        "A host goes offline, or comes back",
        _set_online,
        {"server_id": schemas.SERVER, "online": {"type": "boolean"}},
        ("server_id", "online"),
    ),
    Operation(
        "POST",
        "add_server",
        "Give an account a server to host",
        _add_server,
        {
            "owner_key": schemas.KEY,
            "name": schemas.NAME,
            "record": {
                "type": ["object", "null"],
                "description": "Fields of a `marketplace` record in place of a sample 4090's.",
            },
            "connected": {"type": "boolean", "default": True},
        },
        (),
        {"server_id": {"type": ["integer", "null"]}},
    ),
    Operation(
        "POST",
        "connect_server",
        "The machine of a server connects",
        _connect_server,
        {"owner_key": schemas.KEY, "name": schemas.NAME},
        (),
        {"server_id": {"type": "integer"}},
    ),
    Operation(
        "POST",
        "set_background_job",
        "What a server does while nobody rents it",
        _set_background_job,
        {
            "owner_key": schemas.KEY,
            "name": schemas.NAME,
            "image": schemas.text(),
            "command": schemas.text(default=""),
            "env": {"type": "object", "additionalProperties": schemas.text(), "default": {}},
        },
        ("image",),
    ),
    Operation("POST", "reset", "As at the start", _reset),
    Operation(
        "GET",
        "snapshot",
        "The whole state; it holds keys and passwords",
        _snapshot,
        result={"snapshot": {"type": "object"}},
    ),
    Operation(
        "POST",
        "load",
        "Put a snapshot in place of the state",
        _load,
        {"snapshot": {"type": "object"}},
        ("snapshot",),
        max_body=256_000_000,
    ),
    Operation(
        "GET",
        "journal",
        "Every request, its answer, and whether it acted",
        _journal,
        {
            "endpoint": schemas.text(description="Only of this endpoint."),
            "after": {"type": "integer", "description": "Only what came after this number."},
        },
        (),
        {"journal": {"type": "array", "items": schemas.ENTRY}},
    ),
    Operation("POST", "clear_journal", "Forget what has happened", _clear_journal),
)

OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _ALL}
