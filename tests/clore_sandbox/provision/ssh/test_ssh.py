"""This machine's OpenSSH client against rented rooms: commands, logins, files, forwarding."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from one_kind import one_kind
from processes import running


@pytest.fixture(scope="module")
def room_options():
    return {"env": {"GREETING": "hello there", "HOME_TOWN": "Łódź"}}


def test_a_command_has_its_exit_code_and_streams(shell):
    done = shell.run("echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_the_orders_environment_is_set_and_the_marketplaces_is_not(shell, monkeypatch):
    done = shell.run('echo "$GREETING,$HOME_TOWN,$USER"; env | grep -c CLORE_API')
    assert done.stdout.decode() == "hello there,Łódź,root\n0\n"


def test_a_login_shell_has_the_rooms_path_and_home(shell):
    done = shell.run(input=b"echo $HOME; pwd; nvidia-smi -h; exit 3\n")
    home, cwd, smi = done.stdout.decode().splitlines()
    assert (home, done.returncode) == (cwd, 3)
    assert smi.startswith("nvidia-smi (simulated)")


def test_a_signal_is_not_an_exit_code(shell):
    assert shell.run("kill -TERM $$").returncode == 255


def test_bytes_pass_unchanged_with_back_pressure(shell):
    data = os.urandom(1 << 20) * 6
    done = shell.run("sha256sum; cat >/dev/null", input=data)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    done = shell.run("head -c 6000000 /dev/zero")
    assert len(done.stdout) == 6_000_000


@one_kind("process", "bwrap", "docker")
def test_after_half_close_the_command_can_still_answer(shell):
    assert shell.run("cat; sleep 0.1; echo end", input=b"begin\n").stdout == b"begin\nend\n"


@one_kind("process", "bwrap", "docker")
def test_the_end_of_stdin_does_not_end_the_command(shell):
    assert shell.run("sleep 0.2; echo done").stdout == b"done\n"


@one_kind("process", "bwrap", "docker")
def test_a_wrong_password_and_another_user_are_refused(rented):
    _order, shell = rented()
    shell.env["SSH_ASKPASS"] = "/bin/false"
    assert b"Permission denied" in shell.run("true").stderr
    _order2, shell2 = rented()
    shell2.target = "ubuntu@127.0.0.1"
    assert b"Permission denied" in shell2.run("true").stderr


def make_key(folder, kind="ed25519"):
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", folder / kind], check=True)
    return folder / kind, (folder / f"{kind}.pub").read_text().strip()


@one_kind("process", "bwrap", "docker")
def test_a_public_key_logs_in_and_a_password_does_not(rented, tmp_path):
    private, public = make_key(tmp_path)
    _, shell = rented(ssh_key=public, ssh=("-i", str(private)))
    assert shell.run("echo in").stdout == b"in\n"
    _, other = make_key(tmp_path, "ecdsa")
    _, shell = rented(ssh_key=other, ssh=("-i", str(private)))
    denied = shell.run("echo in")
    assert denied.returncode == 255
    assert b"Permission denied (publickey)" in denied.stderr


@one_kind("process", "bwrap", "docker")
def test_the_port_refuses_connections_before_the_boot(own_market, renter_of, wait):
    market = own_market(boot_s=3600)
    renter = renter_of(market)
    renter.create(renter.free()[0]["id"], ports={"22": "tcp"}, ssh_password="x")
    market.advance(3000)
    order = wait(lambda: next(iter(renter.orders()), None))
    port = int(order["tcp_ports"][0].partition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2)


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [
        ("bwrap", "sftp"),
        ("process", "scp"),
        *(
            pytest.param(kind, protocol, marks=pytest.mark.exhaustive)
            for kind, protocol in (
                ("process", "sftp"),
                ("bwrap", "scp"),
                ("docker", "sftp"),
                ("docker", "scp"),
            )
        ),
    ],
    indirect=["kind"],
    scope="module",
)
def test_scp_copies_both_ways_and_returns_0(shell, tmp_path, protocol):
    (tmp_path / "in file").write_bytes(os.urandom(300_000))
    options = ["-O"] if protocol == "scp" else []
    at = [*options, *shell.options, "-P", shell.port]
    up = shell.tool("scp", *at, str(tmp_path / "in file"), f"{shell.target}:copied")
    assert (up.returncode, up.stderr) == (0, b"")
    down = shell.tool("scp", *at, f"{shell.target}:copied", str(tmp_path / "back"))
    assert down.returncode == 0
    assert (tmp_path / "back").read_bytes() == (tmp_path / "in file").read_bytes()
    missing = shell.tool("scp", *at, f"{shell.target}:nothing", str(tmp_path / "x"))
    assert missing.returncode == 1


@one_kind("process", "bwrap", "docker")
def test_scp_copies_folders_and_finds_the_home(shell, tmp_path):
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "a").write_text("1")
    at = [*shell.options, "-P", shell.port]
    up = shell.tool("scp", "-r", *at, str(tmp_path / "tree"), f"{shell.target}:~/")
    assert up.returncode == 0, up.stderr
    assert shell.run("cat ~/tree/sub/a").stdout == b"1"


def test_sftp_works_from_the_home(shell, tmp_path):
    batch = (
        f"pwd\nmkdir d\nput {__file__} d/f\nls d\nrename d/f d/g\nget d/g {tmp_path}/g\n"
        "rm d/g\nrmdir d\n"
    )
    done = shell.tool(
        "sftp",
        *shell.options,
        "-o",
        "BatchMode=no",
        "-P",
        shell.port,
        "-b",
        "-",
        shell.target,
        input=batch.encode(),
    )
    assert done.returncode == 0, done.stderr
    assert b"d/f" in done.stdout
    assert (tmp_path / "g").read_bytes() == Path(__file__).read_bytes()


def test_rsync_copies_a_tree(shell, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "src" / name).mkdir(parents=True)
        (tmp_path / "src" / name / "f").write_text(name)
    ssh = " ".join(["ssh", *shell.options, "-p", shell.port])
    up = shell.tool("rsync", "-a", "-e", ssh, f"{tmp_path}/src/", f"{shell.target}:dst/")
    assert (up.returncode, up.stderr) == (0, b"")
    down = shell.tool("rsync", "-a", "-e", ssh, f"{shell.target}:dst/", f"{tmp_path}/back/")
    assert down.returncode == 0
    assert (tmp_path / "back" / "b" / "f").read_text() == "b"


SERVER = """python3 -c '
import http.server, os
s = http.server.HTTPServer(("127.0.0.1", %d), http.server.SimpleHTTPRequestHandler)
s.serve_forever()' """


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def get(url, wait):
    def once():
        try:
            answer = httpx.get(url, trust_env=False)
        except httpx.TransportError:
            return None
        return answer if answer.status_code == 200 else None

    return wait(once)


def test_local_forwarding_reaches_a_port_inside(rented, wait):
    inner, here = free_port(), free_port()
    _, shell = rented(
        command=f"echo hi > page; {SERVER % inner}", ssh=("-L", f"{here}:localhost:{inner}")
    )
    with subprocess.Popen(shell.argv("-N"), env=shell.env, stdin=subprocess.DEVNULL) as tunnel:
        assert get(f"http://127.0.0.1:{here}/page", wait).text == "hi\n"
        tunnel.terminate()


def test_remote_forwarding_reaches_a_port_here(rented, wait):
    inner = free_port()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = listener.getsockname()[1]
        _, shell = rented(ssh=("-R", f"{inner}:127.0.0.1:{here}"))
        threading.Thread(target=lambda: answer_once(listener), daemon=True).start()
        code = (
            "import socket;"
            f"print(socket.create_connection(('127.0.0.1', {inner})).recv(9).decode())"
        )
        assert shell.run(f'python3 -c "{code}"').stdout == b"from here\n"


def answer_once(listener):
    sock, _ = listener.accept()
    with sock:
        sock.sendall(b"from here")


@one_kind("process", "bwrap", "docker")
def test_dynamic_forwarding_is_a_socks_proxy(rented, wait):
    inner, here = free_port(), free_port()
    _, shell = rented(command=f"echo socks > page; {SERVER % inner}", ssh=("-D", str(here)))
    with subprocess.Popen(shell.argv("-N"), env=shell.env, stdin=subprocess.DEVNULL) as tunnel:

        def through():
            try:
                with socket.create_connection(("127.0.0.1", here), 2) as sock:
                    sock.sendall(b"\5\1\0")
                    sock.recv(2)
                    sock.sendall(b"\5\1\0\1\x7f\0\0\1" + inner.to_bytes(2, "big"))
                    if sock.recv(10)[1:2] != b"\0":
                        return None
                    sock.sendall(b"GET /page HTTP/1.0\r\n\r\n")
                    sock.settimeout(3)
                    return b"".join(iter(lambda: sock.recv(4096), b"")).endswith(b"socks\n")
            except OSError:
                return None

        wait(through)
        tunnel.terminate()


def test_the_http_address_is_502_until_the_app_listens(rented, wait):
    inner = free_port()
    order, shell = rented(ports={"22": "tcp", str(inner): "http"})
    url = f"http://{order['http_pub']}/page"
    assert httpx.get(url).status_code == 502
    shell.run(f"echo up > page; ({SERVER % inner}) >/dev/null 2>&1 &")
    assert get(url, wait).text == "up\n"


def test_other_tcp_ports_reach_the_same_port_inside(rented, wait):
    inner = free_port()
    order, _ = rented(
        ports={"22": "tcp", str(inner): "tcp"}, command=f"echo t > page; {SERVER % inner}"
    )
    public = dict(pair.split(":") for pair in order["tcp_ports"])[str(inner)]
    assert get(f"http://127.0.0.1:{public}/page", wait).text == "t\n"


class TestTerminal:
    """A pty as a person would use it, driven through a pty on this side."""

    @pytest.fixture
    def terminal(self, shell):
        import pty

        master, slave = pty.openpty()
        process = subprocess.Popen(
            shell.argv("-tt"),
            env={**shell.env, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        yield Terminal(master, process)
        process.kill()
        process.wait()
        os.close(master)

    def test_ctrl_c_ctrl_z_and_the_exit_code(self, terminal):
        terminal.expect("# ")
        terminal.type("sleep 100\n")
        terminal.expect("sleep 100")
        time.sleep(0.2)  # The shell has no way to report that its child has the terminal.
        terminal.type("\x03")
        terminal.expect("# ")
        terminal.type("echo code $?\n")
        terminal.expect("code 130")
        terminal.type("sleep 101\n")
        time.sleep(0.2)
        terminal.type("\x1a")
        terminal.expect("Stopped")
        terminal.type("exit 9\nexit 9\n")  # The first exit only warns of the stopped job.
        assert terminal.process.wait(10) == 9

    def test_the_terminal_has_the_right_size_and_can_be_resized(self, terminal):
        import fcntl
        import struct
        import termios

        fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
        terminal.process.send_signal(signal.SIGWINCH)
        terminal.expect("# ")
        deadline = time.monotonic() + 5
        while "33 111" not in terminal.seen:
            assert time.monotonic() < deadline, terminal.seen
            terminal.type("stty size; tty\n")
            terminal.read(0.1)
        terminal.expect("/dev/")

    def test_end_of_input_ends_the_shell(self, terminal):
        terminal.expect("# ")
        terminal.type("\x04")
        assert terminal.process.wait(10) == 0

    def test_hanging_up_ends_running_commands(self, under_nohup, terminal, wait, nap):
        """Also if the marketplace was started under nohup."""
        terminal.expect("# ")
        terminal.type(f"{nap}\n")
        wait(lambda: running(nap))
        terminal.process.kill()
        wait(lambda: not running(nap))


@pytest.fixture
def under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


class Terminal:
    def __init__(self, master, process):
        self.master, self.process, self.seen = master, process, ""
        os.set_blocking(master, False)

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, timeout_s):
        import select

        if select.select([self.master], [], [], timeout_s)[0]:
            with contextlib.suppress(OSError):
                self.seen += os.read(self.master, 65536).decode(errors="replace")

    def expect(self, text, timeout_s=10):
        deadline = time.monotonic() + timeout_s
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self.read(0.1)
        self.seen = self.seen.partition(text)[2]
