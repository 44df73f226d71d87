"""The user's ssh settings are not for strangers: none of them reaches a rented machine."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable

import pytest
from clients import Api
from waiting import patience

from hostile import noisy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clients import Renting

    from hostile import Machine
    from tests.cli.driver import Renter

    from .stage import Stage

FORWARDING = """
ForwardAgent yes
ForwardX11 yes
ForwardX11Trusted yes
SendEnv *
SetEnv MINE=secret
PermitLocalCommand yes
LocalCommand touch {base}/local-command-ran
GSSAPIAuthentication yes
GSSAPIDelegateCredentials yes
LocalForward {port} 127.0.0.1:9
RemoteForward 0 127.0.0.1:22
DynamicForward 127.0.0.1:{other}
Tunnel yes
IdentityFile {base}/other
CertificateFile {base}/other-cert.pub
UserKnownHostsFile {base}/known_hosts_of_mine
StrictHostKeyChecking yes
HostKeyAlias mine
VisualHostKey yes
LogLevel DEBUG3
"""
SAFE = {
    "forwardagent": "no", "forwardx11": "no", "permitlocalcommand": "no", "tunnel": "false",
    "gssapidelegatecredentials": "no", "controlpersist": "no", "identitiesonly": "yes",
    "proxyjump": None, "proxycommand": None, "localcommand": None, "remotecommand": None,
    "sendenv": None, "setenv": None, "certificatefile": None, "remoteforward": None,
    "dynamicforward": None, "hostkeyalias": None,
}  # fmt: skip
"""The settings that every ssh of clore must have in effect; None: no value."""


@pytest.fixture
def settings(stage: Stage, renter: Renter) -> Callable[[str], Path]:
    """Writes the user's `~/.ssh/config`, and records the settings in effect for each ssh.

    OpenSSH takes the home folder from the system, not from HOME: the first ssh in PATH passes the
    file to the real one as its first words, so that clore's own words come after it.
    """
    config, log = stage.base / ".ssh" / "config", stage.base / "effective"
    real = shlex.quote(str(shutil.which("ssh")))
    programs = stage.base / "programs"
    programs.mkdir()
    (programs / "ssh").write_text(
        f'#!/bin/sh\n{{ {real} -G -F "{config}" "$@"; echo; }} >> "{log}" 2> /dev/null\n'
        f'exec {real} -F "{config}" "$@"\n'
    )
    (programs / "ssh").chmod(0o755)
    renter.env["PATH"] = f"{programs}:{renter.env['PATH']}"

    def write(text: str) -> Path:
        config.write_text(text)
        log.write_text("")
        return log

    return write


@pytest.fixture
def agent(stage: Stage, renter: Renter) -> Iterator[str]:
    """An agent with a key of the user's; the fingerprint of the key."""
    key, sock = stage.base / "other", stage.base / "a"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        env = {**os.environ, "SSH_AUTH_SOCK": str(sock)}
        for _ in range(200):
            done = subprocess.run(["ssh-add", "-q", key], env=env, capture_output=True)
            if done.returncode == 0:
                break
            time.sleep(0.02)
        renter.env["SSH_AUTH_SOCK"] = str(sock)
        listed = subprocess.run(["ssh-add", "-l"], env=env, capture_output=True, text=True)
        yield listed.stdout.split()[1]
    finally:
        process.kill()
        process.wait()


def connections(renter: Renter, order: int, stage: Stage) -> dict[str, Callable[[], object]]:
    """Every command that connects to a machine."""
    return {
        "ssh": lambda: renter("ssh", order, "--", "true"),
        "run": lambda: stage.run(order),
        "run --forward": lambda: stage.run(order, "--forward", f"{free()}:9", "--", "true"),
        "monitor": lambda: renter("monitor", "--once"),
        "jobs": lambda: renter("jobs"),
    }


def free() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def effective(log: Path) -> list[dict[str, str]]:
    """The settings in effect, one entry for each ssh."""
    return [
        dict(line.split(" ", 1) for line in part.splitlines() if " " in line)
        for part in log.read_text().split("\n\n")
        if part.strip()
    ]


def unsafe(log: Path) -> list[str]:
    """The unsafe settings in effect."""
    found = set()
    for each in effective(log):
        for name, wanted in SAFE.items():
            value = each.get(name)
            if value != wanted and not (wanted is None and value in ("none", None)):
                found.add(f"{name} {value}")
    return sorted(found)


def test_no_command_uses_the_users_settings(
    stage: Stage, renter: Renter, machine: Machine, order: int, agent: str,
    settings: Callable[[str], Path],
) -> None:  # fmt: skip
    """No agent, X11, variables, local commands or forwards; only the order's key is offered."""
    log = settings(FORWARDING.format(base=stage.base, port=free(), other=free()))
    renter.env |= {"DISPLAY": ":7", "LC_SECRET": "1", "CLORE_SECRET": "1"}
    machine.program("nvidia-smi", "echo 0, 1, 2, 3, 4")
    stage.note()
    broken = []
    for name, call in connections(renter, order, stage).items():
        machine.asked.clear()
        machine.offered.clear()
        log.write_text("")
        try:
            call()
        except AssertionError as exc:
            broken.append(f"{name} failed: {str(exc)[:300]}")
        if machine.asked:
            broken.append(f"{name} sent {sorted(set(machine.asked))}")
        if agent in machine.offered:
            broken.append(f"{name} offered the agent's key")
        if in_effect := unsafe(log):
            broken.append(f"{name} has in effect: {', '.join(in_effect)}")
        if (stage.base / "local-command-ran").exists():
            broken.append(f"{name} ran the local command")
            (stage.base / "local-command-ran").unlink()
    assert not broken, "\n".join(broken)


def test_no_sdk_call_uses_the_users_settings(
    stage: Stage, machine: Machine, market: Any, agent: str, settings: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch, renter: Renter,
) -> None:  # fmt: skip
    """The same for the inspection in `rent`, and for `exec`, `put`, `get` and `forward`."""
    log = settings(FORWARDING.format(base=stage.base, port=free(), other=free()))
    for name in ("PATH", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, renter.env[name])
    monkeypatch.setenv("DISPLAY", ":7")
    broken = []
    api = Api("sync", market, state=renter.home)
    try:
        with api.renting(image=machine.image, verify="ssh", attempts=1) as rental:
            calls: dict[str, Callable[[], object]] = {
                "rent": lambda: None,
                "exec": lambda: rental.exec("true"),
                "put": lambda: rental.put(stage.folder / "train.py", "x/y"),
                "get": lambda: rental.get("x", stage.results),
                "forward": lambda: _forwarded(rental),
            }
            for name, call in calls.items():
                call()
                if machine.asked:
                    broken.append(f"{name} sent {sorted(set(machine.asked))}")
                if agent in machine.offered:
                    broken.append(f"{name} offered the agent's key")
                if in_effect := unsafe(log):
                    broken.append(f"{name} has in effect: {', '.join(in_effect)}")
                machine.asked.clear()
                machine.offered.clear()
                log.write_text("")
    finally:
        api.shut()
    assert not broken, "\n".join(broken)
    assert not (stage.base / "local-command-ran").exists()


def _forwarded(rental: Renting) -> None:
    with rental.forward(9):
        pass


def test_a_machine_that_refuses_keys_is_offered_only_one(
    stage: Stage, renter: Renter, machine: Machine, order: int, agent: str,
    settings: Callable[[str], Path],
) -> None:  # fmt: skip
    """A machine that refuses every key sees the order's key, and none of the agent or the user."""
    settings(f"IdentityFile {stage.base}/other\n")
    key = renter.home / "ssh" / "id_ed25519.pub"
    words = ["ssh-keygen", "-l", "-f", key]
    own = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[1]
    machine.lets_in = False
    stage.run(order, fails=1)
    renter("ssh", order, "--", "true", fails=255)
    assert set(machine.offered) == {own}


def test_an_order_rented_elsewhere_is_offered_no_agent_key(
    stage: Stage, renter: Renter, machine: Machine, order: int, agent: str,
    settings: Callable[[str], Path], tmp_path: Path,
) -> None:  # fmt: skip
    """Its key is on another computer, and the agent's keys are not tried."""
    settings(f"IdentityFile {stage.base}/other\n")
    machine.lets_in = False
    other = renter.with_(CLORE_HOME=str(tmp_path / "elsewhere" / ".clore"))
    other("run", "--order", order, "--folder", stage.folder, "--", "true", fails=1)
    other("ssh", order, "--", "true", fails=255)
    assert agent not in machine.offered


BREAKING = {
    "a terminal by force": "RequestTTY force",
    "another command": "RemoteCommand echo of the settings",
    "a dead jump host": "ProxyJump 127.0.0.1:9",
    "a dead proxy": "ProxyCommand sleep 1000000",
    "a bad line": "Nonsense yes",
    "another family": "AddressFamily inet6",
    "another host": "Hostname 127.0.0.9\nPort 9",
    "another user": "User nobody\nIdentityFile none\nPubkeyAuthentication no",
    "in the background": "ForkAfterAuthentication yes",
    "no session": "SessionType none",
    "no input": "StdinNull yes",
    "odd keys alone": "HostKeyAlgorithms ssh-dss\nPubkeyAcceptedAlgorithms ssh-dss",
    "a match that runs": 'Match exec "sleep 1000000"\n',
    "an include that waits": "Include {base}/fifo\n",
}


@pytest.mark.parametrize(
    "names",
    [list(BREAKING)[::3], pytest.param(list(BREAKING), marks=pytest.mark.exhaustive)],
    ids=["a third", "all"],
)
def test_settings_that_would_break_a_run(
    stage: Stage,
    renter: Renter,
    machine: Machine,
    order: int,
    settings: Callable[[str], Path],
    names: list[str],
) -> None:
    """With each of them `clore run` does its work and ends."""
    os.mkfifo(stage.base / "fifo")
    # `ssh -G`, which writes the log, would hang there too.
    settings("")
    programs = stage.base / "programs" / "ssh"
    programs.write_text(programs.read_text().splitlines()[0] + "\n"
                        + programs.read_text().splitlines()[-1] + "\n")  # fmt: skip
    wrong = []
    for name in names:
        line = BREAKING[name]
        (stage.base / ".ssh" / "config").write_text(line.format(base=stage.base) + "\n")
        (stage.results / "new").unlink(missing_ok=True)
        process = stage.began(order, "--", "printf there; mkdir -p results; echo 1 > results/new")
        with ended(process):
            try:
                out, err = process.communicate(timeout=patience(15))
            except subprocess.TimeoutExpired:
                out, err = "", "it hangs"
        if out != "there" or not (stage.results / "new").exists():
            wrong.append(f"{name}: {out!r} {err!r}")
    assert not wrong, "\n".join(wrong)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """End the process after the block."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_orders_do_not_share_a_connection(
    stage: Stage, renter: Renter, machine: Machine, order: int, build: Callable[..., Machine],
    bare: Path, settings: Callable[[str], Path],
) -> None:  # fmt: skip
    """Even if ControlPath lacks the port, no command runs on the machine of another order."""
    second = build(bare)
    other = renter.rent("--image", second.image)
    control = stage.base / "c"
    settings(f"ControlMaster auto\nControlPath {control}\nControlPersist 60\n")
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        for at in (order, other):
            renter.start("ssh", at, "--", f"echo {at} >> ran", **nowhere).wait(20)
        assert (machine.home / "ran").read_text().split() == [str(order)]
        assert (second.home / "ran").read_text().split() == [str(other)]
        assert not control.exists()
    finally:
        words = ["ssh", "-F", "none", "-o", f"ControlPath={control}", "-O", "exit", "-q", "x"]
        subprocess.run(words, capture_output=True)


def test_a_changed_host_key_is_refused(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """Another machine answers at the order's address: no command logs in, and an error says so."""
    stage.run(order)
    machine.shut(host_key=True)
    machine.open()
    machine.lines.clear()
    done = stage.run(order, fails=1)
    assert "host key" in done.err
    assert str(order) in done.err
    assert "clore cancel" in done.err
    renter("ssh", order, "--", "true", fails=255)
    renter("monitor", "--once")
    assert machine.lines == []


def test_ssh_shows_the_noise(renter: Renter, machine: Machine, order: int) -> None:
    """`clore ssh` is raw: the output of the machine's rc is shown, as by ssh itself."""
    machine.shell = noisy("echo welcome")
    assert renter("ssh", order, "--", "echo there").out == "welcome\nthere\n"
