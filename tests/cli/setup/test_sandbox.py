"""`clore sandbox` and `clore demo`: they start, can be found, and leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import pytest
from tests.cli.driver import DEPLOY, Clore, Terminal, interrupt, processes_with, shared_forks
from waiting import until

USD = (*DEPLOY, "USD-Blockchain")
QUICK = ("--no-limits", "--lag", "0.1", "--boot", "0.1")

if TYPE_CHECKING:
    Open = Callable[..., Terminal]


def shell(user: Clore, line: str) -> str:
    """A bash command line in which `clore` is the command under test."""
    clore = shlex.join([*shared_forks().program, "clore"])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'clore() {{ {clore} "$@"; }}\n{line}'],
        env=user.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done
    return done.stdout


def test_up_detached_status_down(local: Clore) -> None:
    """A marketplace in the background is found by `status`, which prints the settings of a shell.

    A second one is refused (exit 2). `down` ends it, and succeeds also if none runs.
    """
    assert "clore sandbox up --detach" in local("sandbox", "status", fails=6).err
    up = local("sandbox", "up", "--detach", "--json", *QUICK)
    place = up.data
    assert set(place) == {"base_url", "api_key", "control_url", "control_key"}
    assert place["base_url"].endswith("/v1")
    assert place["base_url"].startswith("http://127.0.0.1:")
    assert len(up.out.splitlines()) == 1

    status = local("sandbox", "status", "--json").data
    assert {k: status[k] for k in place} == place
    assert place["control_key"] not in Path(f"/proc/{status['pid']}/cmdline").read_text()
    assert place["api_key"] not in Path(f"/proc/{status['pid']}/cmdline").read_text()
    for words in (("--detach", "--json"), ("--json",)):  # also refused in the foreground
        error = local("sandbox", "up", *words, fails=2).error
        assert "already runs" in error["message"]
        assert "clore sandbox down" in error["message"]
    assert "bitcoin" in shell(local, 'eval "$(clore sandbox status 2>/dev/null)"; clore wallets')

    assert local("sandbox", "down", "--json").data == {"stopped": True}
    until(lambda: not processes_with(str(local.home)), "its end", 2)
    assert local("sandbox", "down", "--json").data == {"stopped": False}
    local("sandbox", "status", fails=6)


def test_listening_beyond_this_machine_is_warned_of(local: Clore, tmp_path: Path) -> None:
    """With --host a background start warns of what that means; printed settings are quoted."""
    key = f"$(touch {tmp_path}/run)`touch {tmp_path}/run`';\"x"
    words = ("--detach", "--host", "0.0.0.0", "--api-key", key)
    up = local("sandbox", "up", *words, *QUICK)
    assert "Warning: --host 0.0.0.0 opens the API, /control and the orders' ports" in up.err
    assert "can run any command as" in up.err
    line = 'eval "$(clore sandbox status 2>/dev/null)"; printf %s "$CLORE_API_KEY"'
    assert shell(local, line) == key
    assert not (tmp_path / "run").exists()


def _answers(port: int | None) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port or 0), timeout=5).close()
        return True
    return False


def test_state_is_kept_in_a_file(local: Clore, tmp_path: Path) -> None:
    """With --db, orders, keys and the port survive a restart; --port sets the port."""
    db = tmp_path / "market.db"
    first = local("sandbox", "up", "--detach", "--json", "--db", db, *QUICK).data
    env = {"CLORE_BASE_URL": first["base_url"], "CLORE_API_KEY": first["api_key"]}
    user = local.with_(**env, CLORE_REQUESTS_PER_SECOND="1000")
    server = user("search", "--gpu", "4090", "--limit", 1, "--json").data[0]["id"]
    order = int(user("deploy", server, *USD, "--wait").out)
    user("sandbox", "down")

    port = first["base_url"].split(":")[2].split("/")[0]
    words = ("--db", db, "--port", port, *QUICK)
    second = local("sandbox", "up", "--detach", "--json", *words).data
    assert {**second, "control_key": ""} == {**first, "control_key": ""}  # new at each start
    assert [o["id"] for o in user("orders", "--json").data] == [order]
    until(lambda: _answers(user("orders", "--json").data[0]["ssh_port"]), "its SSH", 60)
    assert user("ssh", order, "--", "echo back").out == "back\n"
    user("cancel", order)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--inventory", "/nowhere.json"), 2, "/nowhere.json"),
        pytest.param(("--inventory", __file__), 1, "not JSON", marks=pytest.mark.exhaustive),
        (("--db", "/nowhere/market.db"), 1, "/nowhere/market.db"),
        (("--port", "70000"), 2, "--port"),
    ],
)
def test_a_failed_start_is_one_sentence(
    local: Clore, words: tuple[str, ...], status: int, said: str
) -> None:
    """A start that fails prints one sentence, and leaves no process behind."""
    assert said in local("sandbox", "up", "--detach", *words, fails=status).err
    local("sandbox", "status", fails=6)


def test_ctrl_c_in_the_foreground_ends_everything(local: Clore) -> None:
    """Ctrl-C stops the marketplace, the shells of its orders and their processes; exit 0."""
    process = local.start("sandbox", "up", "--json", *QUICK)
    assert process.stdout is not None
    place = json.loads(process.stdout.readline())
    user = local.with_(
        CLORE_BASE_URL=place["base_url"],
        CLORE_API_KEY=place["api_key"],
        CLORE_REQUESTS_PER_SECOND="1000",
    )
    server = user("search", "--gpu", "4090", "--limit", 1, "--json").data[0]["id"]
    words = ("--env", f"MARK={user.home}-mark", "--command", "setsid sleep 300 & setsid sleep 301")
    order = int(user("deploy", server, *USD, *words, "--wait").out)
    user("ssh", order, "--", "(setsid nohup sleep 302 >/dev/null 2>&1 &); true")
    until(lambda: len(processes_with(f"MARK={user.home}-mark")) >= 3, "the rented processes")
    interrupt(process)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert processes_with(f"MARK={user.home}-mark") == []
    local("sandbox", "status", fails=6)


def test_the_foreground_on_a_terminal(local: Clore, terminal: Open) -> None:
    """It prints its address, lines to paste and how to stop it; Ctrl-C stops it."""
    screen = terminal(local)
    screen.start(f"clore sandbox up {' '.join(QUICK)}")
    text = screen.wait("Ctrl-C stops it")
    assert "export CLORE_BASE_URL=http://127.0.0.1:" in text
    assert "export CLORE_API_KEY=" in text
    screen.keys("C-c")
    screen.wait("end=0")


def test_the_demo_shows_a_whole_rental(local: Clore, tmp_path: Path) -> None:
    """The demo rents on the sample fleet, shows the bill and leaves nothing behind.

    The user's own settings are not changed.
    """
    user = _with_temporary_folder(local, tmp_path)
    result = user("demo", timeout=120)
    shown = [line.split()[2] for line in result.err.splitlines() if line.startswith("$ clore ")]
    assert shown == ["sandbox", "search", "deploy", "ssh", "ssh", "orders", "cancel"]
    assert "NVIDIA-SMI" in result.out
    assert "3.14159" in result.out
    assert "/h = $" in result.err
    assert "It ran " in result.err
    assert re.fullmatch(r"Done in \d+ s; nothing is left running\.", result.err.splitlines()[-1])
    _nothing_left(user, tmp_path)
    assert not user.home.exists()


@pytest.mark.parametrize(
    ("when", "how"),
    [
        pytest.param("$ clore sandbox up", signal.SIGINT, marks=pytest.mark.exhaustive),
        ("Renting", signal.SIGHUP),
        pytest.param("NVIDIA-SMI", signal.SIGINT, marks=pytest.mark.exhaustive),
    ],
)
def test_ctrl_c_in_the_demo_leaves_nothing(
    local: Clore, tmp_path: Path, when: str, how: signal.Signals
) -> None:
    """It can be stopped at any point, also by closing the window; exit 130."""
    user = _with_temporary_folder(local, tmp_path)
    process = user.start("demo", stderr=subprocess.STDOUT)
    assert process.stdout is not None
    for line in process.stdout:
        if when in line:
            break
    else:
        pytest.fail(f"no {when!r}")
    os.killpg(process.pid, how)
    out, _ = process.communicate(timeout=40)
    user.check(out)
    assert process.returncode == 130, out
    _nothing_left(user, tmp_path)


def _with_temporary_folder(user: Clore, tmp_path: Path) -> Clore:
    folder = tmp_path / "tmp"
    folder.mkdir()
    return user.with_(TMPDIR=str(folder), CLORE_INVENTORY="")


def _nothing_left(user: Clore, tmp_path: Path) -> None:
    assert list((tmp_path / "tmp").iterdir()) == []
    # The marketplace's interpreter may still be exiting.
    until(lambda: not processes_with(f"TMPDIR={user.env['TMPDIR']}"), "the end of all", 2)
