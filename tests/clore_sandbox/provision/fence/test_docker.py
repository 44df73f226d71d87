"""Containers alone: the conventions of images, and the leftovers of a crash."""

import os
import sqlite3
from contextlib import closing

import docker
import engine
import pytest
from served import serve

from clore_sandbox.provision import Gpus
from clore_sandbox.provision.fence.host_gpus import HostGpus


@pytest.fixture(scope="module")
def kind(cannot):
    """Containers alone."""
    if (why := cannot("docker")) is not None:
        pytest.skip(why)
    return "docker"


@pytest.fixture
def client(kind):
    client = docker.from_env()
    yield client
    client.close()


def test_an_image_has_its_environment_path_and_process(rented, wait):
    _, shell = rented(env={"ORDER_SAYS": "hi"})
    assert shell.run("echo $IMAGE_SAYS $ORDER_SAYS").stdout == b"hello hi\n"
    assert shell.run("of-the-image").stdout == b"from the image\n"
    assert shell.run(input=b"of-the-image\n").stdout == b"from the image\n"  # a login shell
    # Its CMD in its WORKDIR, and the order's command beside it.
    wait(lambda: shell.run("cat /opt/app/started").stdout == b"hello sh\n")


def test_an_image_with_only_a_static_busybox_works(renter, shell_of, client, tmp_path):
    if not client.images.list(name=engine.BARE):
        pytest.skip("no busybox here for the image (Debian: busybox-static)")
    shell = shell_of(renter.rent(image=engine.BARE, command="echo ran > /ran"))
    assert shell.run("cat /ran; id; exit 3").returncode == 3
    assert shell.run(input=b"echo $0 $HOME\n").stdout == b"/bin/sh /\n"
    (tmp_path / "file").write_text("there and back")
    at = [*shell.options, "-P", shell.port]
    up = shell.tool("scp", *at, str(tmp_path / "file"), f"{shell.target}:copy")
    assert (up.returncode, up.stderr) == (0, b"")
    down = shell.tool("scp", *at, f"{shell.target}:copy", str(tmp_path / "back"))
    assert down.returncode == 0
    assert (tmp_path / "back").read_text() == "there and back"
    assert b"RTX" in shell.run("nvidia-smi -L").stdout


def test_an_order_with_a_missing_image_is_unreachable(renter, wait, caplog):
    server = renter.free()[0]["id"]
    renter.create(server, image="nowhere.invalid/at/all:1", ports={"22": "tcp"}, ssh_password="x")
    wait(lambda: "no image nowhere.invalid/at/all:1" in caplog.text)
    order = wait(lambda: next((o for o in renter.orders() if o["si"] == server), None))
    renter.cancel(order)


def containers(client, state):
    return client.containers.list(all=True, filters={"label": f"clore-sandbox={state}"})


def test_cancelling_and_stopping_remove_the_containers(own_market, renter_of, client):
    market = own_market()
    state = market._run.market.rooms.provisioner._builder._state
    renter = renter_of(market)
    servers = renter.free()
    orders = [renter.rent(server["id"]) for server in servers[:3]]
    assert len(containers(client, state)) == 3
    renter.cancel(orders[0])
    assert len(containers(client, state)) == 2
    market.stop()
    assert containers(client, state) == []


def test_the_next_marketplace_removes_a_leftover_container(tmp_path, renter_of, client):
    db = tmp_path / "market.db"
    with serve("--db", db, "--provisioner", "docker") as market:
        renter = renter_of(market)
        order = renter.rent()
        with closing(sqlite3.connect(db)) as books:
            (state,) = books.execute("SELECT value FROM meta WHERE name = 'state'").fetchone()
        (left,) = containers(client, state)
        left.pause()  # its first process cannot see that the marketplace has gone
        market.kill()
    assert containers(client, state) == [left]
    with serve("--db", db, "--provisioner", "docker") as market:
        assert left not in containers(client, state)
        renter = renter_of(market)
        renter.cancel(order)
    assert containers(client, state) == []


def gpus(count):
    return Gpus(("GPU",) * count, 24.0, (300.0,) * count, "12.4")


def test_orders_get_the_least_used_gpus_that_exist():
    devices = HostGpus(["a", "b", "c"])
    assert devices.take(1, gpus(2)) == ("a", "b")
    assert devices.take(2, gpus(1)) == ("c",)
    assert sorted(devices.take(3, gpus(8))) == ["a", "b", "c"]
    devices.give_back(1)
    devices.give_back(1)
    assert devices.take(4, gpus(2)) == ("a", "b")
    assert HostGpus([]).take(5, gpus(4)) == ()


def test_the_gpus_are_those_the_driver_lists(tmp_path, monkeypatch):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nprintf 'GPU-1\\nGPU-2\\n'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert HostGpus.of_this_machine().take(1, gpus(9)) == ("GPU-1", "GPU-2")
    driver.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert HostGpus.of_this_machine().take(1, gpus(9)) == ()
