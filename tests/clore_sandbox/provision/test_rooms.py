"""A rental's processes, ports and folders end with it; the output of nvidia-smi."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from one_kind import one_kind
from processes import running
from served import serve


@pytest.mark.parametrize(
    "start",
    [
        "NAP &",
        "nohup setsid NAP >/dev/null 2>&1 &",
        "(setsid sh -c 'trap \"\" TERM HUP; NAP' &) &",
        "setsid env -i NAP &",
    ],
    ids=["background", "nohup", "traps", "no environment"],
)
def test_cancelling_ends_every_process(renter, wait, nap, start):
    order = renter.rent(command=start.replace("NAP", nap))
    wait(lambda: running(nap))
    renter.cancel(order)
    assert not running(nap)


def folders(market):
    """Folders that rooms have left on the machine."""
    return list(market._run.market.rooms.provisioner._folder.glob("[0-9]*"))


def test_cancelling_ends_sessions_closes_ports_and_removes_the_folder(
    own_market, renter_of, shell_of, nap
):
    market = own_market()
    renter = renter_of(market)
    order = renter.rent(ports={"22": "tcp", "8888": "http", "9000": "tcp"})
    shell = shell_of(order)
    shell.run("mkdir -p ~/deep/er; touch ~/deep/er/file; chmod 0 ~/deep/er ~/deep")
    assert folders(market)
    with subprocess.Popen(
        shell.argv(f"echo on; {nap}"),
        env=shell.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as session:
        assert session.stdout.readline() == b"on\n"
        renter.cancel(order)
        assert session.wait(10) == 255
    assert not running(nap)
    assert not folders(market)
    ports = [pair.partition(":")[2] for pair in order["tcp_ports"]]
    for port in [*ports, order["http_pub"].partition(":")[2]]:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)), 2)


def test_cancelling_cuts_an_idle_tunnel(renter, shell_of):
    order = renter.rent()
    shell = shell_of(order)
    shell.options = ["-o", "LogLevel=DEBUG1", *shell.options]  # the first one counts
    with subprocess.Popen(
        shell.argv("-N"), env=shell.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as tunnel:
        assert any(b"Entering interactive session" in line for line in tunnel.stderr)
        renter.cancel(order)
        assert tunnel.wait(10) == 255


@one_kind("process", "bwrap", "docker")
def test_another_process_in_the_rooms_folder_is_left_alone(own_market, renter_of):
    market = own_market()
    renter = renter_of(market)
    order = renter.rent()
    with subprocess.Popen(["sleep", "60"], cwd=folders(market)[0]) as stranger:
        renter.cancel(order)
        assert stranger.poll() is None
        stranger.terminate()


@one_kind("process", "bwrap", "docker")
def test_an_order_without_money_ends_its_processes(own_market, renter_of, wait, nap):
    market = own_market()
    renter = renter_of(market)
    renter.rent(command=nap)
    wait(lambda: running(nap))
    market.advance(3600 * 24 * 3000)
    assert not running(nap)


def test_stopping_the_marketplace_ends_everything(quick, renter_of, wait, nap):
    from clore_sandbox import Sandbox

    market = Sandbox(**quick).start()
    renter = renter_of(market)
    order = renter.rent(command=f"setsid {nap}")
    wait(lambda: running(nap))
    market.stop()
    market.stop()
    assert not running(nap)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(order["tcp_ports"][0].partition(":")[2])), 2)


def test_an_order_cancelled_during_the_boot_leaves_nothing(renter, nap):
    server = renter.free()[0]["id"]
    for _ in range(5):
        renter.create(server, ports={"22": "tcp"}, command=nap)
        mine = None
        while not mine:
            mine = next((o for o in renter.orders() if o["si"] == server), None)
        renter.cancel(mine)
    time.sleep(0.3)  # longer than a boot
    assert not running(nap)


def test_every_order_has_a_home_of_its_own(rented):
    (_, one), (_, two) = rented(), rented()
    one.run("echo secret > mine")
    assert one.run("cat ~/mine").stdout == b"secret\n"
    assert two.run("cat ~/mine").returncode == 1


@one_kind("bwrap", "process", "docker")
def test_nvidia_smi_shows_the_rented_gpus(renter, rented):
    server = next(s for s in renter.free() if s["specs"]["gpu"].startswith("2x"))
    _, shell = rented(server=server["id"])
    name = server["specs"]["gpu"].partition("x ")[2]
    memory = server["specs"]["gpuram"] * 1024
    table = shell.run("nvidia-smi").stdout.decode()
    assert table.count(name[:30]) == 2
    assert f"CUDA Version: {server['cuda_version']}" in table
    assert {len(line) for line in table.splitlines() if line.startswith(("|", "+"))} == {91}
    listed = shell.run("nvidia-smi -L").stdout.decode().splitlines()
    assert [line.partition(" (UUID")[0] for line in listed] == [f"GPU 0: {name}", f"GPU 1: {name}"]
    query = shell.run("nvidia-smi --query-gpu=name,memory.total --format=csv,noheader")
    assert query.stdout.decode() == f"{name}, {memory} MiB\n" * 2
    bare = shell.run("nvidia-smi --query-gpu=index,memory.total --format=csv,noheader,nounits")
    assert bare.stdout.decode() == f"0, {memory}\n1, {memory}\n"
    headed = shell.run("nvidia-smi --query-gpu=index,memory.total --format=csv -i 1")
    assert headed.stdout.decode() == f"index, memory.total [MiB]\n1, {memory} MiB\n"


def test_gpu_use_follows_the_processes_of_the_room(rented):
    """Computing shows, waiting does not, and the work of another room does not count."""
    (_, shell), (_, other) = rented(), rented()
    ask = "nvidia-smi --query-gpu=utilization.gpu,temperature.gpu --format=csv,noheader,nounits"

    def use(room):
        return {tuple(map(int, row.split(b","))) for row in room.run(ask).stdout.splitlines()}

    shell.run("sleep 600 >/dev/null 2>&1 &")
    assert use(shell) == {(0, 34)}
    job = shell.run("while :; do :; done >/dev/null 2>&1 & echo $!").stdout.decode().strip()
    assert use(shell) == {(100, 72)}
    assert b"100%" in shell.run("nvidia-smi").stdout
    assert use(other) == {(0, 34)}
    shell.run(f"kill {job}")
    assert use(shell) == {(0, 34)}


@one_kind("process", "bwrap", "docker")
def test_nvidia_smi_refuses_as_the_real_one(shell):
    unknown = shell.run("nvidia-smi --query-gpu=name,colour --format=csv")
    assert (unknown.returncode, unknown.stdout) == (
        *(2, b'Field "colour" is not a valid field to query.\n\n'),
    )
    assert shell.run("nvidia-smi --query-gpu=name").returncode == 2
    assert shell.run("nvidia-smi --frobnicate").returncode == 2
    assert shell.run("nvidia-smi -i 99").returncode == 6


@one_kind("bwrap", "process", "docker")
def test_after_a_kill_the_next_marketplace_finds_only_the_orders(
    tmp_path, kind, renter_of, shell_of, wait, nap
):
    """After a restart with the same state the order is up again; its old processes are gone."""
    other = f"{nap}0"
    options = "--db", tmp_path / "market.db", "--provisioner", kind
    with serve(*options) as market:
        renter = renter_of(market)
        shell = shell_of(renter.rent(command=f"setsid {nap}"))
        shell.run(f"echo kept > file; setsid {other} >/dev/null 2>&1 &")
        wait(lambda: running(nap) and running(other))
        market.kill()
    wait(lambda: not running(other) and not running(nap))
    with serve(*options) as market:
        renter = renter_of(market)
        assert not running(other)
        order = wait(lambda: next(iter(renter.orders()), None))
        assert wait(lambda: shell_of(order).run("echo up").stdout) == b"up\n"
        if kind != "docker":  # A container begins again from its image.
            assert shell_of(order).run("cat file").stdout == b"kept\n"
    assert not running(nap)


@pytest.mark.parametrize(
    ("kind", "group"),
    [
        ("process", False),
        ("bwrap", True),
        *(
            pytest.param(kind, group, marks=pytest.mark.exhaustive)
            for kind, group in (
                ("process", True),
                ("bwrap", False),
                ("docker", False),
                ("docker", True),
            )
        ),
    ],
    indirect=["kind"],
    scope="module",
)
def test_a_killed_marketplace_takes_its_orders_with_it(kind, renter_of, shell_of, wait, nap, group):
    """After kill -9 without a restart, no process and no folder of it is left soon."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # where rooms of other users can be
        _killed_with_its_orders(Path(folder), kind, renter_of, shell_of, wait, nap, group)


def _files_below(folder):
    """The files of the marketplace's folders; one may vanish meanwhile."""
    try:
        return list(folder.glob("clore-*/*"))
    except FileNotFoundError:
        return True


def _killed_with_its_orders(folder, kind, renter_of, shell_of, wait, nap, group):
    options = {"env": {**os.environ, "TMPDIR": str(folder)}, "start_new_session": group}
    with serve("--provisioner", kind, **options) as market:
        order = renter_of(market).rent(command=f"setsid {nap} & setsid env -i {nap}0")
        shell_of(order).run(f"setsid {nap}1 >/dev/null 2>&1 & setsid env -i {nap}2 >&- 2>&- &")
        naps = [nap, f"{nap}0", f"{nap}1", f"{nap}2"]
        wait(lambda: all(running(each) for each in naps))
        if group:
            os.killpg(market.process.pid, signal.SIGKILL)
        market.kill()
        wait(lambda: not any(running(each) for each in naps), timeout_s=30)
        wait(lambda: not _files_below(folder), timeout_s=30)
