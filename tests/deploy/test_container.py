"""The Dockerfile and the compose file are correct, and a rental works in a container."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import engine
import httpx
import pytest
import yaml

from clore_sandbox import serve

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SERVICE = COMPOSE["services"]["marketplace"]
GIVEN = {
    "CLORE_SANDBOX_API_KEY": "key-of-the-account",
    "CLORE_SANDBOX_CONTROL_KEY": "key-of-the-controls",
    "POSTGRES_PASSWORD": "secret",
}


def entrypoint():
    words = json.loads(re.search(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)[1])
    assert words[:3] == ["clore", "sandbox", "up"]
    return words[3:]


def options():
    """The options that the compose file passes to the container, as the server reads them."""
    return serve.parser().parse_args([*entrypoint(), *SERVICE["command"]])


def test_the_options_exist_and_match_the_published_ports():
    first, last = options().ports
    assert re.search(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)[1] == f"8080 {first}-{last}"
    inside = [port.rpartition(":")[2] for port in SERVICE["ports"]]
    assert inside == [str(options().port), f"{first}-{last}"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICE["ports"])
    assert options().host == "0.0.0.0"
    assert options().workers > 1
    assert options().db.startswith("postgresql://")


def test_the_ignore_file_keeps_what_is_copied():
    kept = (ROOT / ".dockerignore").read_text().split()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}" in kept


def test_the_compose_file_is_valid():
    """Compose itself reads it, and asks for the keys."""
    if shutil.which("docker-compose") is None:
        pytest.skip("no docker-compose here (Debian: docker-compose)")
    words = ["docker-compose", "-f", "deploy/compose.yaml", "config"]
    env = {k: v for k, v in os.environ.items() if k not in GIVEN}

    def config(**given):
        return subprocess.run(words, cwd=ROOT, env={**env, **given}, capture_output=True, text=True)

    done = config(**GIVEN)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["services"]["marketplace"]["init"] is True
    refused = config()
    assert refused.returncode != 0
    assert any(name in refused.stderr for name in GIVEN)


def free_range():
    """A range of free ports; the first is for the API."""
    for first in range(31_000, 32_000, 5):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + 5):
                stack.enter_context(socket.socket()).bind(("0.0.0.0", port))
            return first
    raise AssertionError("no free range")


def until(condition, within_s=30):
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    not os.environ.get("CLORE_TEST_CONTAINER"), reason="takes a minute: set CLORE_TEST_CONTAINER"
)
def test_a_rental_works_in_the_container(tmp_path):
    """Built on a base of this machine's files, run as compose would, rented from outside."""
    import container
    import docker

    with contextlib.ExitStack() as stack:
        try:
            host = stack.enter_context(engine.engine())
        except engine.Unavailable as exc:
            pytest.skip(str(exc))
        client = stack.enter_context(contextlib.closing(docker.DockerClient(host, timeout=120)))
        container.import_base(client)
        image, _ = client.images.build(
            path=str(ROOT), dockerfile="deploy/Dockerfile", buildargs={"BASE": container.BASE},
            network_mode="none", tag="clore-test/sandbox", rm=True, forcerm=True,
        )  # fmt: skip
        first = free_range()
        command = ["--port", str(first), "--ports", f"{first + 1}-{first + 4}", "--no-limits"]
        started = client.containers.run(
            image.id, [*command, "--public-host", "localhost", "--lag", "0", "--boot", "0"],
            detach=True, init=True, network_mode="host", cap_drop=["ALL"], environment=GIVEN,
            security_opt=["no-new-privileges"],
        )  # fmt: skip
        stack.callback(started.remove, force=True, v=True)
        headers = {"auth": GIVEN["CLORE_SANDBOX_API_KEY"]}
        api = httpx.Client(base_url=f"http://127.0.0.1:{first}/v1", headers=headers)
        stack.enter_context(api)

        def answers():
            with contextlib.suppress(httpx.TransportError):
                return api.get("/wallets").json()["code"] == 0

        until(answers)
        servers = api.get("/marketplace").json()["servers"]
        server = next(s for s in servers if not s["rented"] and "bitcoin" in s["allowed_coins"])
        key = tmp_path / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        order = {"renting_server": server["id"], "type": "on-demand", "currency": "bitcoin"}
        order |= {
            "image": "i",
            "ports": {"22": "tcp"},
            "ssh_key": (tmp_path / "key.pub").read_text(),
        }
        assert api.post("/create_order", json=order).json() == {"code": 0}
        row = until(lambda: next((o for o in api.get("/my_orders").json()["orders"]
                                  if o["tcp_ports"]), None))  # fmt: skip
        assert row["pub_cluster"] == ["localhost"]
        port = row["tcp_ports"][0].partition(":")[2]
        ssh = ["ssh", "-F", "none", "-i", str(key), "-p", port, "-o", "StrictHostKeyChecking=no"]
        ssh += ["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "root@localhost"]

        def run(words):
            return subprocess.run([*ssh, words], capture_output=True, text=True, timeout=20)

        done = until(lambda: (d := run("id -u && nvidia-smi -L")).returncode == 0 and d)
        assert done.stdout.startswith("10001\n")
        assert "GPU 0:" in done.stdout
        assert started.exec_run(["sh", "-c", "clore sandbox status"]).exit_code == 0
        assert api.post("/cancel_order", json={"id": row["id"]}).json() == {"code": 0}
        started.stop(timeout=10)
        assert started.wait()["StatusCode"] == 0
