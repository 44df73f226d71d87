"""Forbidden actions, tried from inside an order by a renter who has a shell."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from one_kind import one_kind


@pytest.fixture(scope="module", params=["bwrap", "docker"])
def kind(request, cannot):
    """The kinds with isolation: a plain process has none, as documented."""
    if (why := cannot(request.param)) is not None:
        pytest.skip(why)
    return request.param


def host_pids(command):
    """The ids on this machine of processes with this command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b" ".join(words).decode(errors="replace").strip() == command:
            found.append(int(entry.name))
    return found


def python(shell, code):
    return shell.run("python3 -", input=code.encode())


@one_kind("bwrap", "docker")
def test_processes_of_others_cannot_be_seen_or_killed(rented, wait, nap):
    _, one = rented(command=nap)
    _, two = rented()
    (pid,) = wait(lambda: host_pids(nap))
    wait(lambda: nap in one.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout.decode())
    assert nap not in two.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout.decode()
    two.run(f"kill -9 {pid}; kill -9 -1")
    assert host_pids(nap) == [pid]
    assert two.run("echo alive").stdout == b"alive\n"


def test_the_renter_cannot_end_the_first_process(shell):
    shell.run("kill -9 1; kill -STOP 1; kill -TERM 1; kill -HUP 1")
    assert shell.run("echo alive").stdout == b"alive\n"


def test_the_first_process_cannot_be_traced_or_read(shell):
    code = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.ptrace(16, 1, 0, 0), os.strerror(ctypes.get_errno()))\n"
        "for name in ('environ', 'mem', 'root', 'fd/3'):\n"
        "    try:\n"
        "        print(os.open(f'/proc/1/{name}', os.O_RDONLY))\n"
        "    except OSError as exc:\n"
        "        print(exc.strerror)\n"
    )
    lines = python(shell, code).stdout.decode().splitlines()
    assert lines[0] == "-1 Operation not permitted"
    assert all("ermi" in line or "No such" in line for line in lines[1:]), lines


@one_kind("bwrap", "docker")
def test_two_orders_can_bind_the_same_port(rented, wait):
    serve = "python3 -m http.server 8888 --bind 127.0.0.1"
    pages = {}
    for word in ("one", "two"):
        order, _ = rented(
            ports={"22": "tcp", "8888": "http"}, command=f"mkdir w; cd w; echo {word} > p; {serve}"
        )
        pages[word] = f"http://{order['http_pub']}/p"

    def text(url):
        answer = httpx.get(url, trust_env=False)
        return answer.text.strip() if answer.status_code == 200 else None

    for word, url in pages.items():
        assert wait(lambda url=url: text(url)) == word


@one_kind("bwrap", "docker")
def test_a_low_port_can_be_bound(rented, wait):
    order, _ = rented(
        ports={"22": "tcp", "80": "http"}, command="echo low > p; python3 -m http.server 80"
    )
    url = f"http://{order['http_pub']}/p"
    assert wait(lambda: httpx.get(url, trust_env=False).text == "low\n")


ATTEMPTS = """\
mount -o remount,rw /
mount -o remount,rw /usr
mount -o remount,bind,rw /usr
mount -o remount,rw /opt/clore-sandbox
mount -t tmpfs none /mnt
mount -t proc proc /tmp
mount --bind / /tmp
umount /proc
umount -l /usr
umount -l /opt/clore-sandbox
unshare -m true
unshare -Ur true
unshare -Urm mount -o remount,rw /usr
mknod /tmp/disk b 8 0
: >> /proc/sys/kernel/core_pattern
: >> /proc/sys/kernel/modprobe
: >> /proc/sys/user/max_user_namespaces
: >> /proc/sysrq-trigger
head -c 1 /proc/kcore
head -c 1 /dev/kmsg
head -c 1 /dev/mem
hostname stolen
date -s 2020-01-01
ls /proc/1/root/
chroot /proc/1/root true
touch /opt/clore-sandbox/x
touch /opt/clore-sandbox/bin/nvidia-smi
echo >> /opt/clore-sandbox/_room_program.py
dmesg -C
"""


def test_escapes_are_refused(shell):
    """Each of these would succeed for root on the machine itself."""
    script = (
        'while read -r line; do (eval "$line") </dev/null >/dev/null 2>&1 && echo "$line"; done'
    )
    done = shell.run(f"{script}; echo end", input=ATTEMPTS.encode())
    assert done.stdout.decode() == "end\n", "these succeeded"


def test_no_executable_gives_more_rights(shell, kind):
    status = dict(
        line.split(":\t")
        for line in shell.run("cat /proc/self/status").stdout.decode().splitlines()
    )
    allowed = {
        "bwrap": 1 << 10,  # to bind low ports
        "docker": 0x00000000A00425FB & ~(1 << 27),  # Docker's own, without making devices
    }[kind]
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert int(status[name], 16) & ~allowed == 0, (name, status[name])
    if kind == "bwrap":
        assert status["NoNewPrivs"] == "1"


def test_the_root_folder_is_not_the_machines(rented, kind, wait, nap):
    if kind == "docker":
        pytest.skip("as the engine has it: dockerd's userns-remap decides")
    rented(command=nap)
    (pid,) = wait(lambda: host_pids(nap))
    uid = Path(f"/proc/{pid}").stat().st_uid
    assert uid != 0
    assert os.getuid() in (0, uid)


@pytest.fixture
def kept(own_market, renter_of, tmp_path):
    """A marketplace with its database in a file, and its renter."""
    market = own_market(db=tmp_path / "market.db")
    return market, renter_of(market)


@one_kind("bwrap", "docker")
def test_files_of_others_and_of_the_marketplace_are_unreachable(kept, shell_of, tmp_path):
    market, renter = kept
    servers = renter.free()
    one = shell_of(renter.rent(servers[0]["id"]))
    two = shell_of(renter.rent(servers[1]["id"]))
    one.run("echo secret > ~/treasure-3403")
    treasures = list(tmp_path.rglob("treasure-3403")) + list(
        market._run.market.rooms.provisioner._folder.rglob("treasure-3403")
    )
    places = [tmp_path / "market.db", Path(__file__), *treasures]
    for place in places:
        assert place.exists()
        assert two.run(f"cat '{place}'").returncode != 0, place
    assert two.run("find / -xdev -name 'treasure-3403' 2>/dev/null").stdout == b""
    assert two.run("cat /etc/shadow /etc/clore*").stdout.count(b"$") == 0


@one_kind("bwrap", "docker")
def test_sftp_follows_links_only_inside_the_room(kept, shell_of, tmp_path):
    _, renter = kept
    shell = shell_of(renter.rent())
    database = tmp_path / "market.db"
    shell.run(f"ln -s '{database}' ~/db; ln -s / ~/all; echo mine > ~/file; ln -s file ~/link")
    for there, here in ((f"{shell.target}:db", "stolen"), (f"{shell.target}:all{database}", "too")):
        done = shell.tool("scp", *shell.options, "-P", shell.port, there, str(tmp_path / here))
        assert done.returncode == 1
        assert not (tmp_path / here).exists()
    at = [*shell.options, "-P", shell.port]
    assert shell.tool("scp", *at, f"{shell.target}:link", str(tmp_path / "ok")).returncode == 0
    assert (tmp_path / "ok").read_text() == "mine\n"
    up = shell.tool("scp", *at, __file__, f"{shell.target}:all{tmp_path}/planted")
    assert up.returncode == 1
    assert not (tmp_path / "planted").exists()


def connects(shell, host, port):
    code = f"import socket; socket.create_connection(('{host}', {port}), 2).close(); print('yes')"
    return python(shell, code).stdout == b"yes\n"


def test_ports_of_the_machine_are_unreachable(market, rented):
    _, shell = rented()
    with closing(socket.create_server(("0.0.0.0", 0))) as listener:
        port = listener.getsockname()[1]
        assert not connects(shell, "127.0.0.1", port)
        assert not connects(shell, "127.0.0.1", market.port)
        shell.options += ["-W", f"127.0.0.1:{port}"]
        assert b"forwarding failed" in shell.run().stderr


@one_kind("bwrap", "docker")
def test_a_public_port_is_the_same_inside_every_order(rented, wait):
    order, one = rented(
        ports={"22": "tcp", "9000": "tcp"}, command="echo hi > p; python3 -m http.server 9000"
    )
    public = dict(pair.split(":") for pair in order["tcp_ports"])["9000"]
    _, two = rented()
    get = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{public}/p').read())"
    for shell in (one, two):
        wait(lambda shell=shell: python(shell, get).stdout == b"b'hi\\n'\n")


@one_kind("bwrap", "docker")
def test_a_closed_public_port_is_unreachable(renter, rented, wait):
    order = renter.rent()
    public = order["tcp_ports"][0].partition(":")[2]
    _, shell = rented()
    wait(lambda: connects(shell, "127.0.0.1", public))
    renter.cancel(order)
    wait(lambda: not connects(shell, "127.0.0.1", public))


@one_kind("bwrap", "docker")
def test_a_cancel_cuts_connections_to_the_http_port(renter, shell_of, wait):
    order = renter.rent(
        ports={"22": "tcp", "9000": "tcp"},
        command="""python3 -c "
import socket
import subprocess
import sys
s = socket.create_server(('127.0.0.1', 9000)); c, _ = s.accept(); c.sendall(b'on'); c.recv(9)" """,
    )
    public = int(dict(pair.split(":") for pair in order["tcp_ports"])["9000"])

    def connect():
        sock = socket.create_connection(("127.0.0.1", public), 2)
        if sock.recv(2) == b"on":
            return sock
        sock.close()
        return None

    with closing(wait(connect)) as sock:
        renter.cancel(order)
        assert sock.recv(1) == b""


NOBODY = 65534
AS_A_USER = """
import sys, time
sys.path[:0] = sys.argv[1:]
import httpx
from clore_sandbox import Sandbox
with Sandbox(provisioner="bwrap", visibility_lag_s=0, boot_s=0.01, limits=False) as market:
    with httpx.Client(base_url=market.base_url, headers={"auth": market.api_key}) as http:
        server = next(s for s in http.get("/marketplace").json()["servers"]
                      if not s["rented"] and s["price"]["on_demand"].get("bitcoin", 1) < 0.001)
        command = "(id -u; cat /proc/self/uid_map; mount -o remount,rw /usr || echo no) > made"
        http.post("/create_order", json={
            "renting_server": server["id"], "image": "x", "type": "on-demand",
            "currency": "bitcoin", "ports": {"22": "tcp"}, "command": command})
        while True:
            for made in market._run.market.rooms.provisioner._folder.glob("*/home/made"):
                if made.read_text().endswith("no\\n"):
                    print(made.read_text())
                    sys.exit()
            time.sleep(0.02)
"""


def test_isolation_works_without_root(tmp_path, kind):
    """With the machine's own Python, since the tests' one may be out of a user's reach."""
    if kind != "bwrap" or os.getuid() != 0:
        pytest.skip("everything here already runs as a plain user, or without bubblewrap")
    packages = [path for path in sys.path if path.endswith(("site-packages", "src"))]
    why = "none is there"
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [python, "-B", "-c", AS_A_USER, *packages],
                user=NOBODY,
                group=NOBODY,
                extra_groups=(),
                cwd="/",
                env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
                capture_output=True,
                text=True,
                timeout=60,
            )
        except OSError as exc:
            why = str(exc)
            continue
        if done.returncode == 0:
            uid, inside, outside, count, refused = done.stdout.split()
            assert (uid, inside, count, refused) == ("0", "0", "1", "no")
            assert int(outside) == NOBODY
            return
        why = done.stderr[-300:]
    pytest.skip(f"no Python here that a plain user can run this with: {why}")
