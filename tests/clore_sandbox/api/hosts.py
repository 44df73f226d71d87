"""The calls of a host, and settings in the forms of 004 and of today."""

OLD = {"name": "MyGPU", "availability": True, "mrl": 96, "on_demand": 0.0001, "spot": 0.00000113}
COINS = ("bitcoin", "CLORE-Blockchain", "USD-Blockchain")
CURRENT = {
    "name": "MyGPU",
    "availability": True,
    "mrl": 24,
    "bitcoin_on_demand": 0.001,
    "bitcoin_spot": 0.0005,
    "CLORE-Blockchain_on_demand": 100,
    "CLORE-Blockchain_spot": 50,
    "USD-Blockchain_on_demand": 2,
    "USD-Blockchain_spot": 1,
    **{f"enabled-{coin}": True for coin in COINS},
    "autoprice": dict.fromkeys(COINS, "usd"),
    "usd_pricing": {coin: {"on_demand": 9, "spot": 4.5} for coin in COINS},
}


def set_up(host, **fields):
    answer = host.post("set_server_settings", **{**OLD, **fields})
    return answer.json()


def config(host, name="MyGPU"):
    answer = host.http.request("GET", "/server_config", json={"server_name": name})
    assert answer.json()["code"] == 0
    return answer.json()["config"]


def listed(client, server):
    servers = client.http.get("/marketplace").json()["servers"]
    return next((s for s in servers if s["id"] == server), None)


def row_of(host):
    return host.http.get("/my_servers").json()["servers"][0]
