"""Runs in the environment with 0.1.1: reads a call as a line of JSON, and writes its result as one.

Argument: ``sync`` or ``async``. Each line names the marketplace and the account.
"""

import asyncio
import inspect
import json
import os
import sys

from click.testing import CliRunner
from pydantic import BaseModel

from clore_ai import AsyncCloreAI, CloreAI

(KIND,) = sys.argv[1:]
loop = asyncio.new_event_loop()


def make(url, api_key, max_retries):
    client = (CloreAI if KIND == "sync" else AsyncCloreAI)(
        api_key=api_key, base_url=url, max_retries=max_retries
    )
    client.rate_limiter.min_interval = client.rate_limiter.create_order_delay = 0
    return client


def plain(value):
    """A model with its properties, as JSON values."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, BaseModel):
        return value
    kind = type(value)
    names = [name for name in dir(kind) if isinstance(getattr(kind, name, None), property)]
    derived = {n: getattr(value, n) for n in names if not n.startswith(("_", "model_"))}
    return {**value.model_dump(), **derived}


def call(client, name, arguments):
    try:
        value = getattr(client, name)(**arguments)
        value = loop.run_until_complete(value) if inspect.isawaitable(value) else value
    except Exception as exc:  # noqa: BLE001 - any exception is reported
        failure = {"type": type(exc).__name__, "message": str(exc)}
        return {"failure": {**failure, "code": getattr(exc, "code", None)}}
    return {"value": plain(value)}


def command(words):
    from clore_ai.cli import cli

    done = CliRunner().invoke(cli, words)
    raised = None if isinstance(done.exception, SystemExit) else done.exception
    return {"value": {"code": done.exit_code, "out": done.output, "raised": type(raised).__name__}}


clients = {}
for line in sys.stdin:
    asked = json.loads(line)
    CloreAI.BASE_URL = asked["url"]  # the command line of 0.1.1 has no setting for the address
    os.environ["CLORE_API_KEY"] = asked["account"]
    if "command" in asked:
        given = command(asked["command"])
    else:
        who = (asked["url"], asked["key"], asked["max_retries"])
        client = clients.get(who) or clients.setdefault(who, make(*who))
        given = call(client, asked["name"], asked["arguments"])
    print(json.dumps(given), flush=True)
