"""`python -m clore_sandbox` and the state folder, as processes."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import httpx
import pytest
import served
from processes import running
from served import QUICK, Remote, serve

from clore_sandbox import Sandbox, daemon
from clore_sandbox import serve as command

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.timeout(20)  # a lost signal would wait for ever
def test_a_signal_ends_the_wait_whenever_it_comes():
    """Also at any line that the waiting thread runs, and before the wait."""
    before = {number: signal.getsignal(number) for number in STOPS}
    try:
        lines = _lines_of_a_wait(at=0)
        assert lines
        assert [_lines_of_a_wait(at) for at in range(lines)] == [lines] * lines
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lines_of_a_wait(at):
    """Press SIGTERM at this line of a wait; how many lines it had."""
    lines = 0

    def trace(_frame, event, _arg):
        nonlocal lines
        if event == "line":
            if lines == at:
                os.kill(os.getpid(), signal.SIGTERM)
            lines += 1
        return trace

    with command._stop_signals() as wait:
        sys.settrace(trace)
        try:
            wait()
        finally:
            sys.settrace(None)
    return lines


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_json_prints_one_line_and_a_signal_stops_everything(renter_of, wait, number):
    with served.start(*QUICK, stderr=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline()
        assert set(json.loads(line)) == {"base_url", "api_key", "control_url", "control_key"}
        renter = renter_of(Remote(server, line))
        renter.rent(command=f"setsid sleep 42{number:02d}.5")
        wait(lambda: running(f"sleep 42{number:02d}.5"))
        server.send_signal(number)
        assert server.wait(10) == 0
        assert server.stdout.read() == ""
        assert server.stderr.read() == ""
    assert not running(f"sleep 42{number:02d}.5")


def test_ctrl_c_reaches_shells_of_a_server_started_in_the_background(renter_of, shell_of, wait):
    """A shell without job control starts `&` with SIGINT ignored; rooms must not inherit that."""
    code = (
        "import signal, sys; from clore_sandbox.serve import main\n"
        "for number in (signal.SIGINT, signal.SIGQUIT): signal.signal(number, signal.SIG_IGN)\n"
        f"sys.exit(main({QUICK}))"
    )
    with served.python("-c", code) as server:
        renter = renter_of(Remote(server, server.stdout.readline()))
        shell = shell_of(renter.rent())
        ignored = int(shell.run("grep SigIgn /proc/self/status").stdout.split()[1], 16)
        assert not ignored & (1 << (signal.SIGINT - 1))
        server.terminate()


@pytest.mark.parametrize("kind", ["process", "bwrap"])
def test_ctrl_c_reaches_shells_inside_a_process_that_ignores_it(renter_of, shell_of, kind):
    if kind == "bwrap" and shutil.which("bwrap") is None:
        pytest.skip("needs bwrap")
    code = (
        "import signal, sys, json; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from clore_sandbox import Sandbox\n"
        f"with Sandbox(provisioner={kind!r}, visibility_lag_s=0, boot_s=0, limits=False) as s:\n"
        "    print(json.dumps({'base_url': s.base_url, 'api_key': s.api_key}), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with served.python("-c", code, stdin=subprocess.PIPE) as host:
        renter = renter_of(Remote(host, host.stdout.readline()))
        shell = shell_of(renter.rent())
        ignored = int(shell.run("grep SigIgn /proc/self/status").stdout.split()[1], 16)
        assert not ignored & (1 << (signal.SIGINT - 1))
        host.stdin.close()
        assert host.wait(10) == 0


def test_a_living_market_with_custom_servers():
    with serve("--alive", "--host-servers", "2") as found:
        answer = httpx.get(f"{found.base_url}/my_servers", headers={"auth": found.api_key})
        assert [row["name"] for row in answer.json()["servers"]] == ["MyGPU", "MyGPU-2"]


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--inventory", "/nothing/there.json"], 2, "cannot read"),
        (["--port", "1", "--host", "192.0.2.1"], 1, "can't listen on 192.0.2.1:1: "),
        (["--time-scale", "0"], 2, "time_scale"),
        (["--boot", "-1"], 2, "boot_s"),
        (["--boot", "soon"], 2, "argument --boot: invalid length of time value: 'soon'"),
        (["--colour"], 2, "--colour"),
        (["--db", "/nothing/there/market.db"], 1, "No such file"),
    ],
)
def test_failures_are_one_sentence(options, status, words):
    code, said = served.fails(*options)
    assert code == status
    assert words in said.splitlines()[-1]


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_up_status_down(tmp_path, wait):
    state = tmp_path / "state"
    assert daemon.find(state) is None
    assert daemon.stop(state) is False
    keys = ["--api-key", "chosen-key-1234", "--control-key=chosen-key-5678"]
    running_ = daemon.start_detached(state, ["--no-limits", *keys])
    try:
        assert (running_.api_key, running_.control_key) == ("chosen-key-1234", "chosen-key-5678")
        clock = httpx.get(f"{running_.control_url}/clock", headers={"auth": "chosen-key-5678"})
        assert clock.json()["speed"] == 1.0
        assert daemon.find(state) == running_
        assert (
            httpx.get(f"{running_.base_url}/wallets", headers={"auth": "chosen-key-1234"}).json()[
                "code"
            ]
            == 0
        )
        file = state / "sandbox.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        listing = subprocess.run(
            ["ps", "axo", "args"], capture_output=True, text=True, check=True
        ).stdout
        assert "chosen-key" not in listing
        with pytest.raises(daemon.RunsAlready, match="already runs"):
            daemon.start_detached(state, [])
    finally:
        assert daemon.stop(state) is True
    assert daemon.find(state) is None
    assert not file.exists()
    wait(lambda: gone(running_.pid))


@pytest.mark.parametrize("text", ["", "{}", "null", '{"pid": 1}', "[1]"])
def test_a_broken_state_file_is_no_marketplace(tmp_path, text):
    (tmp_path / "sandbox.json").write_text(text)
    assert daemon.find(tmp_path) is None


def test_a_process_id_of_another_process_is_never_signalled(tmp_path, market):
    """The file names this test's process and a marketplace that identifies as another one."""
    fields = {"pid": os.getpid(), "base_url": market.base_url, "api_key": "k", "instance": "other"}
    fields |= {"control_url": market.control_url, "control_key": "c"}
    (tmp_path / "sandbox.json").write_text(json.dumps(fields))
    assert daemon.find(tmp_path) is None
    assert daemon.stop(tmp_path) is False
    (tmp_path / "sandbox.json").write_text(json.dumps({**fields, "instance": market.instance}))
    assert daemon.find(tmp_path).environment["CLORE_CONTROL_KEY"] == "c"


def test_time_without_a_marketplace_is_not_billed(tmp_path, renter_of):
    db = tmp_path / "market.db"
    options = {"db": db, "visibility_lag_s": 0, "provision": False, "limits": False}
    with Sandbox(**options) as market:
        renter = renter_of(market)
        renter.create(renter.free()[0]["id"])
        market.advance(600)
        (before,) = renter.orders()
    # The clock included the jump, and this is in the stored state too.
    with Sandbox(**options) as market:
        (after,) = renter_of(market).orders()
        assert after["id"] == before["id"]
        assert after["ct"] == before["ct"]
        assert after["spend"] <= before["spend"] * 12 / 11


def test_importing_the_package_is_cheap():
    code = (
        "import sys, clore_sandbox, clore_sandbox.daemon;"
        "print('asyncssh' in sys.modules, 'starlette' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_the_server_is_ready_within_a_third_of_a_second(own_market):
    started = time.perf_counter()
    own_market()
    assert time.perf_counter() - started < 0.9  # 0.3 s on an idle machine; tests run in parallel
