"""001, CLI & SDK Guide: every curl, Python and Node.js example, with only address and key changed.

They run against the live dialect without limits, since the examples call without a pause.
"""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.examples_of_documents.blocks import Block, of

CURL = of("001", "bash", "curl")


def python(start: str, containing: str) -> Block:
    (block,) = [b for b in of("001", "python", start) if containing in b.text]
    return block


def ours(block: Block, world) -> str:
    return block.at(world.sandbox.base_url, world.sandbox.api_key)


def test_every_program_is_run(unpaced):
    """Other blocks are no programs: the header, answers, `ssh`, `pip install`, an image's name."""
    assert len(CURL) == 9
    assert len(of("001", "python")) == 7
    assert len(of("001", "javascript")) == 2


@pytest.mark.parametrize("block", CURL, ids=str)
def test_curl(unpaced, block):
    done = unpaced.run("bash", "-c", ours(block, unpaced))
    answer = json.loads(done.stdout)
    assert answer["code"] == 0
    (entry,) = unpaced.sandbox.journal()
    assert entry.acted
    if "spotprice" in block.text:
        assert entry.body["type"] == "spot"


def test_full_working_example(unpaced, clore_client):
    """It rents the cheapest 4090, and lists the new order beside the two running ones."""
    said = unpaced.python(ours(python("import os", "Browse marketplace"), unpaced))
    assert "Cheapest RTX 4090" in said
    assert "Order created successfully!" in said
    assert "Order 38:" in said
    assert "SSH: ssh root@127.0.0.1 -p" in said
    assert len(unpaced.acted("create_order")) == 1


def test_find_cheapest_and_rent(unpaced, clore_client):
    said = unpaced.python(ours(python("from clore_client", "def rent_cheapest"), unpaced))
    assert "Renting server" in said
    assert "Done!" in said
    assert len(unpaced.acted("create_order")) == 1


def test_monitor_orders(unpaced, clore_client):
    """The example never ends; the test reads its first report."""
    said = unpaced.until(ours(python("import time", "def monitor_orders"), unpaced), r"Order 39")
    assert "--- 2 active order(s) ---" in said
    assert "Order 38: server 61000 | spent" in said
    assert "| SSH: 127.0.0.1:" in said


def test_auto_rent(unpaced, clore_client):
    """The class in the document has no `required_price`, which its example passes."""
    block = python("import time", "def auto_rent_on_price_drop")
    if clore_client == "the document's client":
        said = unpaced.until(ours(block, unpaced), r"No match yet")
        assert "unexpected keyword argument 'required_price'" in said
        assert unpaced.acted("create_order") == []
        return
    said = unpaced.python(ours(block, unpaced))
    assert "Order created for server" in said
    assert len(unpaced.acted("create_order")) == 1


def test_safe_api_call(unpaced, clore_client):
    """The document only defines it; here it makes a call."""
    use = "\nimport os\nfrom clore_client import CloreClient\n"
    use += "print(safe_api_call(CloreClient(os.environ['CLORE_API_KEY']).get_orders))"
    block = python("import time", "def safe_api_call")
    assert "'id': 38" in unpaced.python(ours(block, unpaced) + use)


def test_create_order_with_retry(unpaced, clore_client):
    """The document only defines it; here it rents."""
    block = python("from clore_client import CloreClient, CloreAPIError", "with_retry")
    said = unpaced.python(ours(block, unpaced) + "\nprint(create_order_with_retry(6, 'image'))")
    assert "{'code': 0" in said
    assert len(unpaced.acted("create_order")) == 1


NODE_18 = 18


@pytest.fixture(scope="module")
def node() -> str:
    """The system's Node.js, 18 or newer."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node.js is not installed")
    said = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    if int(said.strip().lstrip("v").partition(".")[0]) < NODE_18:
        pytest.skip(f"Node.js 18 or newer is needed for fetch; this is {said.strip()}")
    return found


def test_node(unpaced, node):
    (client,) = of("001", "javascript", "const BASE_URL")
    done = unpaced.run(node, unpaced.write("example.js", ours(client, unpaced)))
    assert "Active orders: 2" in done.stdout
    assert "Order 38 → ssh root@127.0.0.1 -p" in done.stdout
    assert done.stderr == ""


def test_node_with_retry(unpaced, node):
    """The document only defines it; here it rents, with the document's client."""
    (client,) = of("001", "javascript", "const BASE_URL")
    (retry,) = of("001", "javascript", "async function createOrderWithRetry")
    use = "createOrderWithRetry(client, {serverId: 6, image: 'i', ports: {22: 'tcp'},"
    use += " sshPassword: 'SecurePass123'}).then(r => console.log(r));"
    text = f"{ours(client, unpaced)}\n{ours(retry, unpaced)}\n{use}"
    assert "{ code: 0 }" in unpaced.run(node, unpaced.write("example.js", text)).stdout
    assert len(unpaced.acted("create_order")) == 1
