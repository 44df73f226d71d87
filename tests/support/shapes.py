"""Every shape of an order that service.md, 001, 002 and 004 show."""

from __future__ import annotations

from typing import Any

LIVE_ACTIVE: dict[str, Any] = {
    "id": 700_001,
    "creation_fee": 0.1,
    "price": 2,
    "mrl": 604_800,
    "image": "cloreai/ubuntu22.04-cuda12",
    "currency": "USD-Blockchain",
    "spend": 0.0013888,
    "ct": 1_700_000_000,
    "specs": {"gpu": "1x NVIDIA GeForce RTX 3090", "ram": 31.2},
    "si": 88_028,
    "mon_container": 0,
    "online": True,
    "pub_cluster": ["n1.us.clorecloud.net", "n2.us.clorecloud.net"],
    "tcp_ports": ["22:1972", "6006:1973"],
    "http_port": "8888",
    "http_pub": "xxxx.us.clorecloud.net",
    "rating": {"avg": 4.5, "cnt": 3},
    "reliability": 0.99,
    "owner": 7,
    "cuda_version": "12.4",
    "gpu_array": [" RTX 3090"],
}
LIVE_CLOSED: dict[str, Any] = {
    **{k: v for k, v in LIVE_ACTIVE.items() if k not in ("pub_cluster", "http_port", "http_pub")},
    "expired": True,
    "order_end": 1_700_000_948,
    "online": True,
    "tcp_ports": [],
    "mon_container": 2,
}
OF_001: dict[str, Any] = {
    "id": 38,
    "pub_cluster": ["n1.c1.clorecloud.net", "n2.c1.clorecloud.net"],
    "tcp_ports": ["22:10000"],
    "http_port": "8888",
    "expired": False,
}
OF_002: dict[str, Any] = {
    "order_id": 98765,
    "renting_server": 12345,
    "type": "on-demand",
    "status": "running",
    "currency": "CLORE-Blockchain",
    "price": 0.25,
    "created": 1_709_400_000,
    "started": 1_709_400_120,
    "connection": {
        "ssh": "ssh root@node123.clore.ai -p 40022",
        "jupyter": "http://node123.clore.ai:8888",
        "ports": {
            "22": "tcp://node123.clore.ai:40022",
            "8888": "http://node123.clore.ai:40088",
        },
    },
}
OF_004: dict[str, Any] = {
    "id": 38,
    "renting_server": 123,
    "type": "spot",
    "status": "running",
    "image": "i",
    "currency": "bitcoin",
    "price": 0.00001,
    "created_at": "2024-05-21T12:00:00Z",
    "pub_cluster": "n1.c1.clorecloud.net",
    "tcp_ports": {"22": 10000},
    "http_port": 8888,
    "env": {"A": "secret-env"},
    "ssh_password": "secret-password",
    "ssh_key": "ssh-ed25519 secret-key",
    "jupyter_token": "secret-token",
    "command": "secret-command",
}
ALL = {
    "live, active": LIVE_ACTIVE,
    "live, closed": LIVE_CLOSED,
    "001": OF_001,
    "002": OF_002,
    "004": OF_004,
}
