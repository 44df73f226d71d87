"""A machine that never answers, never stops, or cuts: clore ends and leaves no ssh behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest
from clients import Api
from waiting import patience, until

from hostile import SILENT, Machine, after, at, port_that

from .stage import resident_kb

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from clients import Renting

    from tests.cli.driver import Renter

    from .stage import Stage

SOON_S = 20.0
"""A Ctrl-C ends it within 15 s; the machine of the tests is busy."""
STEPS = range(7)
"""The most sessions of a run before its job's output is read; each may be the bad one."""
WAITING = "echo up; mkdir -p results; echo 1 > results/new; until [ -e go ]; do sleep 0.1; done"


@contextmanager
def killed(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill the process at the end of the block."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        with process:
            pass


def programs_of(home: Path) -> dict[int, str]:
    """Processes that clore started for this state folder: ssh and its children."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            marked = os.fsencode(home) in (folder / "environ").read_bytes() + b" ".join(words)
        except OSError:
            continue
        name = words[0].split(b":")[0].rsplit(b"/", 1)[-1]
        if marked and name in (b"ssh", b"scp", b"sftp", b"rsync", b"tar", b"sh"):
            found[int(folder.name)] = b" ".join(words).decode("utf-8", "replace")[:200]
    return found


def ends(
    renter: Renter, process: subprocess.Popen[str], order: int, number: int,
    hung: Callable[[], bool], more_s: float = 0.5,
) -> list[str]:  # fmt: skip
    """Signal the process once it hangs; returns what is wrong with its end."""
    deadline = time.monotonic() + 30
    while not hung() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(more_s)  # well within the time limit
    if process.poll() is None:
        process.send_signal(number)
    begun = time.monotonic()
    try:
        out, err = process.communicate(timeout=SOON_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return [f"it went on for {SOON_S:.0f} s after the signal, and said: {err[-300:]!r}"]
    renter.check((out or "") + err)
    wrong = []
    wanted = {signal.SIGINT: (130, 1), signal.SIGTERM: (130, 1), signal.SIGHUP: (129, 130, 1)}
    if process.returncode not in wanted[signal.Signals(number)]:
        wrong.append(f"exit {process.returncode} after {time.monotonic() - begun:.0f} s: {err!r}")
    if str(order) not in err:
        wrong.append(f"not a word of what runs, or was cancelled: {err!r}")
    return wrong


@pytest.mark.parametrize(
    ("number", "steps"),
    [
        ("SIGINT", (0, 3)),
        pytest.param("SIGINT", STEPS, marks=pytest.mark.exhaustive),
        pytest.param("SIGTERM", (0, 3), marks=pytest.mark.exhaustive),
        # If the terminal closes before the job runs, clore still starts the job, until the machine
        # counts as lost.
        ("SIGHUP", (3,)),
    ],
)
def test_a_silent_machine_at_every_step(
    stage: Stage,
    renter: Renter,
    build: Callable[..., Machine],
    bare: Path,
    number: str,
    steps: Sequence[int],
) -> None:
    """From any session on, the shell never answers: one Ctrl-C ends `clore run`.

    With --cancel the order is cancelled by then; no ssh is left.
    """
    machines = {step: build(bare) for step in steps}
    orders = {step: renter.rent("--image", machines[step].image) for step in steps}

    def one(step: int) -> list[str]:
        machine, order = machines[step], orders[step]
        machine.lines.clear()
        machine.shell = after(step, SILENT)
        words = "--cancel", "--fetch-every", "0.2", "--", WAITING
        with killed(stage.began(order, *words)) as process:
            signalled = getattr(signal, number)
            wrong = ends(renter, process, order, signalled, lambda: len(machine.lines) > step)
        if number != "SIGHUP" and order in [row["id"] for row in renter("orders", "--json").data]:
            wrong.append("the order is not cancelled")
        return [f"from session {step} on: {each}" for each in wrong]

    with ThreadPoolExecutor(len(steps)) as pool:
        wrong = [each for found in pool.map(one, steps) for each in found]
    if number != "SIGHUP":  # then a follower may still look
        left = [] if wrong else list(_left(renter.home).values())
        wrong += [f"left: {each}" for each in left]
    assert not wrong, "\n".join(wrong)


def _left(home: Path) -> dict[int, str]:
    """The processes that remain after some seconds."""
    deadline = time.monotonic() + 5
    while (found := programs_of(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def test_a_machine_that_goes_silent_during_its_job(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """The job runs, then no command answers any more: Ctrl-C cancels within seconds."""
    with killed(stage.began(order, "--cancel", "--fetch-every", "0.2", "--", WAITING)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        before = len(machine.lines)
        machine.shell = lambda _n, _line: SILENT
        wrong = ends(renter, process, order, signal.SIGINT, lambda: len(machine.lines) > before)
    assert not wrong
    assert renter("orders", "--json").data == []
    assert not _left(renter.home)


def test_a_fetch_that_never_ends(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """The job has ended and the machine's tar is silent: Ctrl-C ends it and names what stays."""
    machine.program("tar", 'case "$*" in *x*f*) exec "$REAL" "$@" ;; esac\n: > "$HOME/hung"\n'
                    "exec sleep 1000000")  # fmt: skip
    with killed(stage.began(order)) as process:
        wrong = ends(renter, process, order, signal.SIGINT, (machine.home / "hung").exists)
    assert not wrong
    assert not _left(renter.home)


FLOODS = {
    "bytes": "head -c 150000000 /dev/zero; : > sent; exec sleep 1000000",
    "errors": "head -c 150000000 /dev/zero >&2; : > sent; exec sleep 1000000",
    "lines of errors": "yes 'an error' | head -c 60000000 >&2; : > sent; exec sleep 1000000",
}
"""Each makes the file `sent` when all of it was read, or the reader stopped."""


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(each, marks=[] if each == "bytes" else pytest.mark.exhaustive)
        for each in FLOODS
    ],
)
def test_a_flood_at_every_step(
    stage: Stage, renter: Renter, build: Callable[..., Machine], bare: Path, flood: str
) -> None:
    """Endless output is not kept in memory, and Ctrl-C ends the command as usual."""
    machines = {step: build(bare) for step in (0, 2)}
    orders = {step: renter.rent("--image", machines[step].image) for step in (0, 2)}

    def one(step: int) -> list[str]:
        machine, order = machines[step], orders[step]
        machine.lines.clear()
        machine.shell = after(step, ("sh", "-c", FLOODS[flood]))
        with killed(stage.began(order, "--cancel", "--", WAITING, stdout=subprocess.DEVNULL)) as p:
            most_kb: list[int] = []
            watch = threading.Thread(target=_watch, args=(p, most_kb))
            watch.start()
            wrong = ends(renter, p, order, signal.SIGINT, (machine.home / "sent").exists)
            watch.join()
        if max(most_kb) > 200_000:
            wrong.append(f"{max(most_kb) // 1000} MB of memory")
        return [f"from session {step} on: {each}" for each in wrong]

    with ThreadPoolExecutor(2) as pool:
        wrong = [each for found in pool.map(one, (0, 2)) for each in found]
    assert not wrong, "\n".join(wrong)
    assert not _left(renter.home)


def _watch(process: subprocess.Popen[str], most_kb: list[int]) -> None:
    """Record the peak memory of the process, until its end."""
    most_kb.append(0)
    while process.poll() is None:
        most_kb.append(resident_kb(process.pid))
        time.sleep(0.05)


def refuse(connection: socket.socket) -> None:
    connection.close()


def silent(connection: socket.socket) -> None:
    connection.recv(1)
    threading.Event().wait()


def greets(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    threading.Event().wait()


def chatters(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"no end\x1b]52;c;b3duZWQ=\x07\r\n" * 10)
        time.sleep(0.2)


@pytest.mark.parametrize(
    "answers",
    [silent, chatters, *(pytest.param(f, marks=pytest.mark.exhaustive) for f in (greets, refuse))],
)
def test_a_first_connection_that_fails(
    stage: Stage, renter: Renter, answers: Callable[[socket.socket], object]
) -> None:
    """The message comes within 40 s; Ctrl-C cancels the order."""
    with port_that(answers) as port:
        words = ("deploy", renter.server(), "--type", "on-demand", "--currency", "USD-Blockchain")
        order = int(renter(*words, "--image", at(port)).out)
        with killed(stage.began(order, "--cancel")) as process:
            said = _said(process, order, within_s=40)
            process.send_signal(signal.SIGINT)
            try:
                _, err = process.communicate(timeout=SOON_S)
            except subprocess.TimeoutExpired:
                pytest.fail(f"Ctrl-C did not end it; before it said {said!r}")
        renter.check(said + err)
        assert str(order) in said
        assert "\x1b" not in said + err
        assert process.returncode == 130
        assert renter("orders", "--json").data == []
        assert not _left(renter.home)


def _said(process: subprocess.Popen[str], of: int, within_s: float) -> str:
    """Read stderr until it names the order, or to its end."""
    lines: list[str] = []

    def read() -> None:
        assert process.stderr is not None
        for line in iter(process.stderr.readline, ""):
            lines.append(line)
            if str(of) in line:
                return

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(within_s)
    if reader.is_alive():
        process.kill()
        reader.join()
        pytest.fail(f"for {within_s:.0f} s the order was not named, only {''.join(lines)!r}")
    return "".join(lines)


def test_a_machine_that_ends_each_session_at_once(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """The shell ends silently, or the connection closes: one sentence, and no ssh left."""
    for words in (("true",), ()):
        machine.shell = lambda _n, _line, words=words: words  # type: ignore[misc]
        with killed(stage.began(order, "--lost-after", "0.05m")) as process:
            try:
                _, err = process.communicate(timeout=40)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=SOON_S)
        renter.check(err)
        assert process.returncode in (1, 4, 130)
        assert str(order) in err, f"{words}: {err!r}"
        assert not _left(renter.home)


def test_a_machine_that_allows_one_session(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """MaxSessions 1 of sshd: the job runs and outputs are fetched, or a sentence says why not."""
    machine.most_sessions = 1
    with killed(stage.began(order, "--fetch-every", "0.2", "--", f"{WAITING}; exit 5")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(1)  # some fetches were attempted
        (machine.work / "go").touch()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert (stage.results / "new").read_text() == "1\n"


def test_nothing_is_left_after_a_kill(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """After `kill -9` of clore during its job, no ssh of clore's goes on."""
    with killed(stage.began(order, "--", WAITING)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert programs_of(renter.home)
        process.kill()
        process.wait(10)
    assert not _left(renter.home)


@pytest.mark.parametrize("step", [0, 2])
def test_nothing_is_left_after_a_kill_at_a_silent_machine(
    stage: Stage, renter: Renter, machine: Machine, order: int, step: int
) -> None:
    """The same if the machine does not answer, at the first command or at the upload."""
    machine.shell = after(step, SILENT)
    with killed(stage.began(order)) as process:
        until(lambda: len(machine.lines) > step, "the silence")
        process.kill()
        process.wait(10)
    assert not _left(renter.home)


def test_commands_end_at_a_silent_machine(
    stage: Stage, renter: Renter, machine: Machine, order: int
) -> None:
    """`jobs`, `monitor --once`, `logs` and `stop` each end with a sentence or a row."""
    with killed(stage.began(order, "--", WAITING)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
        process.wait(10)
    for pid in programs_of(renter.home):
        os.kill(pid, signal.SIGKILL)
    machine.shell = lambda _n, _line: SILENT
    words = {"jobs": 15, "monitor --once": 25, "logs 1": 45, "stop 1": 45, "orders": 15}

    def one(item: tuple[str, int]) -> str | None:
        line, within_s = item
        with killed(renter.start(*line.split())) as looking:
            try:
                out, err = looking.communicate(timeout=patience(within_s))
            except subprocess.TimeoutExpired:
                return f"clore {line} went on for {within_s} s"
            renter.check(out + err)
            if not out + err:
                return f"clore {line} said nothing"
            return None

    with ThreadPoolExecutor(len(words)) as pool:
        wrong = [each for each in pool.map(one, words.items()) if each]
    assert not wrong, "\n".join(wrong)
    assert not _left(renter.home)


def test_exec_times_out(machine: Machine, rental: Renting) -> None:
    """A command never answers, or a process that holds its pipes outlives it."""
    from clore_ai.exceptions import CloreAPIError, WaitTimeout

    for line in ("exec sleep 1000000", "sleep 1000000 & sleep 1000000"):
        begun = time.monotonic()
        with pytest.raises(WaitTimeout):
            rental.exec(line, timeout=1)
        assert time.monotonic() - begun < 8
    machine.shell = lambda _n, _line: ("cat", "/dev/zero")
    begun = time.monotonic()
    with pytest.raises(CloreAPIError):  # too long, or too much
        rental.exec("anything", timeout=3)
    assert time.monotonic() - begun < 10
    machine.shell = lambda _n, line: ("sh", "-c", line)


@pytest.mark.parametrize("owned", [SILENT, ("sh", "-c", FLOODS["bytes"]), ("true",), ()])
@pytest.mark.parametrize("kind", [pytest.param("sync", marks=pytest.mark.exhaustive), "async"])
def test_a_bad_machine_is_not_handed_over(
    kind: str, stage: Stage, machine: Machine, market: Any, owned: Sequence[str]
) -> None:
    """Silent, flooding or cut during the inspection: `rent` fails in time, with nothing running."""
    from clore_ai.exceptions import RentFailed

    machine.shell = lambda _n, _line: owned
    api = Api(kind, market, state=stage.renter.home)
    begun = time.monotonic()
    try:
        with pytest.raises(RentFailed):
            api.renting(image=machine.image, attempts=1, boot_deadline=3.0).start()
        assert time.monotonic() - begun < 30
        assert [each.id for each in api.my_orders() if each.active] == []
    finally:
        api.shut()
    assert not _left(stage.renter.home)
