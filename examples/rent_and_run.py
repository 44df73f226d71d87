"""Rent the cheapest server with a GPU, run one command on it over SSH, and stop paying.

    python examples/rent_and_run.py "RTX 4090" nvidia-smi

The rental gets a key pair of its own. Whatever happens, the order is cancelled.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from clore_ai import CloreAI, CloreAPIError

gpu, command = (sys.argv[1:] + ["RTX 4090", "nvidia-smi"][len(sys.argv) - 1 :])[:2]


def rent(client: CloreAI, public_key: str) -> int:
    """The id of an order on the cheapest server that one of our wallets can pay for a day."""
    balances = {w.name: w.balance or 0 for w in client.wallets()}
    offers = [
        (usd, server, coin)
        for server in client.marketplace(gpu=gpu)
        for coin, usd in server.usd_per_day().items()
        if balances.get(coin, 0) > server.price_per_day(coin)
    ]
    usd, server, coin = min(offers, key=lambda offer: offer[0])
    print(f"server {server.id}: {server.gpu_model}, ${usd / 24:.4f}/h = ${usd:.2f}/day in {coin}")
    order = client.create_order(
        server_id=server.id,
        image="cloreai/ubuntu22.04-cuda12",
        type="on-demand",
        currency=coin,
        required_price=server.price_per_day(coin),
        ssh_key=public_key,
        ports={"22": "tcp"},
    )
    return order.id


with CloreAI() as client, tempfile.TemporaryDirectory() as folder:
    key = Path(folder) / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    order_id = rent(client, key.with_suffix(".pub").read_text())
    try:
        order = client.wait_for_ssh(order_id)
        ssh = ["ssh", "-i", key, "-p", str(order.ssh_port), f"root@{order.ssh_host}"]
        ssh += [
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            f"UserKnownHostsFile={folder}/known",
        ]
        print(subprocess.run([*ssh, command], check=True, capture_output=True, text=True).stdout)
    except CloreAPIError as error:
        print(error, file=sys.stderr)
    finally:
        client.cancel_order(order_id)
        print(f"order {order_id} cancelled")
