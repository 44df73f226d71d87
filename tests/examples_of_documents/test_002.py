"""002, API Quick Reference: its examples as one program, in the dialect of the document.

Each block builds on the one before (`headers`, `response`, `order_id`), and uses `order_id` and
`status`, which the reference dialect sends and the live service does not.
"""

from __future__ import annotations

import json
import subprocess
import sys

from tests.examples_of_documents.blocks import blocks, of


def test_every_program_is_run(reference):
    """The other blocks are request lines, such as `GET /v1/wallets`."""
    assert len(of("002", "bash", "curl")) == 1
    assert len(of("002", "python")) == 11
    others = [b for b in blocks("002") if b.language != "python"]
    assert all("/v1/" in b.text for b in others)


def test_curl(reference):
    (block,) = of("002", "bash", "curl")
    sandbox = reference.sandbox
    done = reference.run("bash", "-c", block.at(sandbox.base_url, sandbox.api_key))
    assert json.loads(done.stdout)["code"] == 0


def test_python(reference):
    """All blocks make one program; at its end an order was made, found and cancelled."""
    sandbox = reference.sandbox
    python = of("002", "python")
    program = "\n".join(block.at(sandbox.base_url, sandbox.api_key) for block in python)
    check = "\nassert available and clore_balance > 0 and order_id and active and spot_data, active"
    reference.python(program + check)
    (created,) = reference.acted("create_order")
    (cancelled,) = reference.acted("cancel_order")
    assert (created.body["renting_server"], cancelled.body["id"]) == (12345, created.order)


def test_documented_records_have_their_fields(reference):
    """Each field of the documented order and server is sent, with the same type."""
    sandbox = reference.sandbox
    server, order = (eval(b.text, {}) for b in of("002", "python", "{"))
    rent = (
        "import requests, json, os, time\n"
        "u, h = os.environ['CLORE_BASE_URL'], {'auth': os.environ['CLORE_API_KEY']}\n"
        "requests.post(u + '/create_order', headers=h, json={'renting_server': 12345, 'type':"
        " 'on-demand', 'currency': 'CLORE-Blockchain', 'image': 'i', 'ssh_password': 'x',"
        " 'ports': {'22': 'tcp', '8888': 'http'}})\n"
        "time.sleep(0.3)\n"
        "print(json.dumps([requests.get(u + '/marketplace').json()['servers'],"
        " requests.get(u + '/my_orders', headers=h).json()['orders']]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", rent],
        env=reference.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    servers, orders = json.loads(done.stdout)
    mine = next(o for o in orders if o["si"] == 12345)
    shown = next(s for s in servers if s["id"] == 12345)
    assert missing(order, mine) == []
    del server["price"]["usd"], server["price"]["on_demand"]["USD-Blockchain"]
    assert missing(server, shown) == []
    assert sandbox.journal()[-1].acted


def missing(example, real, where=""):
    """The paths of fields that the real record lacks, or has with another type."""
    if isinstance(example, dict):
        if not isinstance(real, dict):
            return [where]
        return [
            path
            for name, value in example.items()
            for path in (
                missing(value, real[name], f"{where}.{name}")
                if name in real
                else [f"{where}.{name}"]
            )
        ]
    same = isinstance(real, (int, float)) if isinstance(example, float) else None
    return [] if (same if same is not None else type(example) is type(real)) else [where]
