"""What a rental starts ends with it: processes, ports, folders; and what nvidia-smi says."""

import json
import socket
import subprocess
import sys
import time

import pytest


def running(command):
    listing = subprocess.run(["ps", "axo", "args"], capture_output=True, text=True, check=True)
    return command in listing.stdout.splitlines()


@pytest.mark.parametrize(
    ("start", "left"),
    [
        ("sleep 3301.5 &", "sleep 3301.5"),
        ("nohup setsid sleep 3302.5 >/dev/null 2>&1 &", "sleep 3302.5"),
        ("(setsid sh -c 'trap \"\" TERM HUP; sleep 3303.5' &) &", "sleep 3303.5"),
        ("setsid env -i sleep 3304.5 &", "sleep 3304.5"),
    ],
    ids=["background", "nohup", "traps", "no environment"],
)
def test_cancelling_ends_every_process(renter, shell_of, wait, start, left):
    order = renter.rent(command=start)
    wait(lambda: running(left))
    renter.cancel(order)
    assert not running(left)


def folders(market):
    """What rooms have left on the machine."""
    return list(market._market.provisioner._folder.glob("[0-9]*"))


def test_cancelling_ends_sessions_closes_ports_and_removes_the_folder(
    own_market, renter_of, shell_of
):
    market = own_market()
    renter = renter_of(market)
    order = renter.rent(ports={"22": "tcp", "8888": "http", "9000": "tcp"})
    shell = shell_of(order)
    shell.run("mkdir -p ~/deep/er; touch ~/deep/er/file; chmod 0 ~/deep/er ~/deep")
    assert folders(market)
    with subprocess.Popen(
        shell.argv("echo on; sleep 3305.5"),
        env=shell.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as session:
        assert session.stdout.readline() == b"on\n"
        renter.cancel(order)
        assert session.wait(10) == 255
    assert not running("sleep 3305.5")
    assert not folders(market)
    ports = [pair.partition(":")[2] for pair in order["tcp_ports"]]
    for port in [*ports, order["http_pub"].partition(":")[2]]:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)), 2)


def test_cancelling_cuts_an_idle_tunnel(renter, shell_of, wait):
    order = renter.rent()
    shell = shell_of(order)
    shell.options = ["-v", *(o for o in shell.options if o != "LogLevel=ERROR")]
    shell.options = [
        o
        for i, o in enumerate(shell.options)
        if o != "-o" or shell.options[i + 1 : i + 2] != ["-o"]
    ]
    with subprocess.Popen(
        shell.argv("-N"), env=shell.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as tunnel:
        wait(lambda: b"Entering interactive session" in tunnel.stderr.readline())
        renter.cancel(order)
        assert tunnel.wait(10) == 255


def test_a_stranger_who_stands_in_the_rooms_folder_is_left_alone(own_market, renter_of):
    market = own_market()
    renter = renter_of(market)
    order = renter.rent()
    with subprocess.Popen(["sleep", "60"], cwd=folders(market)[0]) as stranger:
        renter.cancel(order)
        assert stranger.poll() is None
        stranger.terminate()


def test_an_order_that_runs_out_of_money_ends_its_processes(own_market, renter_of, wait):
    market = own_market()
    renter = renter_of(market)
    renter.rent(command="sleep 3306.5")
    wait(lambda: running("sleep 3306.5"))
    market.advance(3600 * 24 * 3000)
    assert not running("sleep 3306.5")


def test_stopping_the_marketplace_ends_everything(quick, renter_of, wait):
    from clore_sandbox import Sandbox

    market = Sandbox(**quick).start()
    renter = renter_of(market)
    order = renter.rent(command="setsid sleep 3307.5")
    wait(lambda: running("sleep 3307.5"))
    market.stop()
    market.stop()
    assert not running("sleep 3307.5")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(order["tcp_ports"][0].partition(":")[2])), 2)


def test_an_order_cancelled_while_it_boots_leaves_nothing(renter):
    server = renter.free()[0]["id"]
    for _ in range(5):
        renter.create(server, ports={"22": "tcp"}, command="sleep 3308.5")
        mine = None
        while not mine:
            mine = next((o for o in renter.orders() if o["si"] == server), None)
        renter.cancel(mine)
    time.sleep(0.3)  # longer than a boot takes
    assert not running("sleep 3308.5")


def test_every_order_has_a_home_of_its_own(rented):
    (_, one), (_, two) = rented(), rented()
    one.run("echo secret > mine")
    assert one.run("cat ~/mine").stdout == b"secret\n"
    assert two.run("cat ~/mine").returncode == 1


@pytest.fixture
def four_gpus(own_market, renter_of, shell_of):
    market = own_market()
    renter = renter_of(market, bitcoin=1)
    server = next(s for s in renter.free() if s["specs"]["gpu"].startswith("2x"))
    return server, shell_of(renter.rent(server["id"]))


def test_nvidia_smi_shows_the_rented_gpus(four_gpus):
    server, shell = four_gpus
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


def test_nvidia_smi_refuses_as_the_real_one(rented):
    _, shell = rented()
    unknown = shell.run("nvidia-smi --query-gpu=name,colour --format=csv")
    assert (unknown.returncode, unknown.stdout) == (
        *(2, b'Field "colour" is not a valid field to query.\n\n'),
    )
    assert shell.run("nvidia-smi --query-gpu=name").returncode == 2
    assert shell.run("nvidia-smi --frobnicate").returncode == 2
    assert shell.run("nvidia-smi -i 99").returncode == 6


def test_a_killed_marketplace_leaves_nothing_to_the_next_but_the_orders(
    tmp_path, kind, renter_of, shell_of, wait
):
    """Kill -9, and again on the same state: the order is up again, the old processes are not."""
    words = [sys.executable, "-m", "clore_sandbox", "--json", "--lag", "0", "--boot", "0"]
    words += ["--no-limits", "--db", str(tmp_path / "market.db"), "--provisioner", kind]

    def serve():
        return subprocess.Popen(words, stdout=subprocess.PIPE)

    with serve() as server:
        renter = renter_of(Remote(server.stdout.readline()))
        shell = shell_of(renter.rent(command="setsid sleep 3309.5"))
        shell.run("echo kept > file; setsid sleep 3310.5 >/dev/null 2>&1 &")
        wait(lambda: running("sleep 3309.5") and running("sleep 3310.5"))
        server.kill()
        server.wait()
    if kind != "process":  # what is fenced in ends with its marketplace
        wait(lambda: not running("sleep 3310.5") and not running("sleep 3309.5"))
    with serve() as server:
        renter = renter_of(Remote(server.stdout.readline()))
        assert not running("sleep 3310.5")
        order = wait(lambda: next(iter(renter.orders()), None))
        assert wait(lambda: shell_of(order).run("echo up").stdout) == b"up\n"
        if kind != "docker":  # a container begins anew from its image
            assert shell_of(order).run("cat file").stdout == b"kept\n"
        server.terminate()
        assert server.wait(20) == 0
    assert not running("sleep 3309.5")


class Remote:
    """Enough of a Sandbox for a renter."""

    def __init__(self, line):
        fields = json.loads(line)
        self.base_url, self.api_key = fields["base_url"], fields["api_key"]
