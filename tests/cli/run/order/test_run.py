"""`clore run` from a local folder to its results, with real rooms and OpenSSH."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import time
from typing import TYPE_CHECKING

from tests.cli.run.order.conftest import run, tree
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.driver import Renter


def test_output_and_exit_code_are_the_jobs_own(renter: Renter, order: int, folder: Path) -> None:
    """Both streams of the job come on stdout in the order written; its exit code is passed on."""
    # Its input is empty.
    script = "cat; for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 7"
    done = run(renter, order, folder, "--", script, fails=7)
    assert done.out == "".join(f"out {i}\nerr {i}\n" for i in (1, 2, 3))
    assert "ended with 7" in done.err
    (row,) = renter("orders", "--json").data
    price = f"${row['price'] / 24:.4f}/h = ${row['price']:.2f}/day = "
    assert f"Order {order} keeps running and is billed: {price}" in done.err
    assert f"Stop paying: clore cancel {order}" in done.err
    assert (
        run(renter, order, folder, "--", "printf", "%s|", "a b", "$HOME", "'").out == "a b|$HOME|'|"
    )
    assert run(renter, order, folder, "--", "kill -TERM $$", fails=143).out == ""


def test_output_is_binary_safe(renter: Renter, order: int, folder: Path) -> None:
    """Every byte passes, also without a last newline; the log holds the same bytes."""
    (folder / "bytes").write_bytes(bytes(range(256)) * 5_000)
    words = ["run", "--order", str(order), "--folder", str(folder), "--", "cat bytes"]
    process = renter.start(*words, text=False)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert hashlib.sha256(out).digest() == hashlib.sha256((folder / "bytes").read_bytes()).digest()
    log = renter.home / "jobs" / "1" / "log"
    assert log.read_bytes() == out
    assert log.stat().st_mode & 0o077 == 0


def test_output_comes_while_the_job_runs(renter: Renter, order: int, folder: Path) -> None:
    """A line is printed before the job ends, also from Python, which would buffer it for a file."""
    script = "import time\nprint('first')\nopen('go', 'x')\nwhile True: time.sleep(0.05)"
    process = renter.start(
        "run", "--order", order, "--folder", folder, "--", "python3", "-c", script
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_variables_reach_the_job_and_are_stored_nowhere(
    renter: Renter, order: int, folder: Path, tmp_path: Path
) -> None:
    """--env and --env-file may be quoted in any way; no file on either side holds a value."""
    file = tmp_path / "variables"
    file.write_text("# one a line\n\nexport FROM_FILE='in a file'\nBOTH=file\n")
    odd = 'it\'s $HOME "and"\nnew line é'
    words = ("--env", f"ODD={odd}", "--env", "MINE", "--env", "BOTH=flag", "--env-file", file)
    done = run(
        renter, order, folder, *words, "--", 'printf "%s|" "$ODD" "$MINE" "$FROM_FILE" "$BOTH"',
        MINE="of mine",
    )  # fmt: skip
    assert done.out == f"{odd}|of mine|in a file|flag|"
    kept = (renter.home / "state.sqlite").read_bytes()
    assert b"of mine" not in kept
    assert renter("ssh", order, "--", "grep -r 'of mine' .clore/jobs/*/[!o]*", fails=1).out == ""
    assert (
        "number 2"
        in run(renter, order, folder, "--env", "A=1", "--env", "1A=x", "--", "true", fails=2).err
    )
    file.write_text("A=1\nsecret without a name\n")
    done = run(renter, order, folder, "--env-file", file, "--", "true", fails=2)
    assert "line 2" in done.err
    assert "without a name" not in done.err


def test_setup_runs_first_and_must_succeed(renter: Renter, order: int, folder: Path) -> None:
    """Setup is a shell line, or a requirements file that pip installs."""
    assert run(renter, order, folder, "--setup", "echo set > up", "--", "cat up").out == "set\n"
    failed = run(renter, order, folder, "--setup", "exit 9", "--", "echo never", fails=9)
    assert "never" not in failed.out
    assert "--setup failed" in failed.out
    tree(folder, {"needs.txt": "# nothing\n", "pip.py": ""})
    shown = "import sys; print(*sys.argv[1:])"
    tree(folder, {"pip/__main__.py": shown, "pip/__init__.py": ""})
    (folder / "pip.py").unlink()
    done = run(renter, order, folder, "--setup", "needs.txt", "--", "echo then")
    assert done.out == "install -q -r needs.txt\nthen\n"


def test_forwarded_ports_are_reachable_here(renter: Renter, order: int, folder: Path) -> None:
    """--forward makes a server of the job reachable here; a port that is in use is refused."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        here, there = one.getsockname()[1], other.getsockname()[1]
        refused = run(renter, order, folder, "--forward", here, "--", "true", fails=2)
        assert f"--forward {here}: this port can't be used here" in refused.err
    tree(folder, {"hello.txt": "from there"})
    process = renter.start(
        "run", "--order", order, "--folder", folder, "--forward", f"{here}:{there}", "--",
        f"exec python3 -m http.server --bind 127.0.0.1 {there}",
    )  # fmt: skip

    def answer() -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", here), 5) as connection:
                connection.sendall(b"GET /hello.txt HTTP/1.0\r\n\r\n")
                return b"".join(iter(lambda: connection.recv(4096), b""))
        except OSError:
            return b""

    until(lambda: answer().endswith(b"from there"), "an answer through the tunnel", 40)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


def test_bad_input_is_refused_before_anything_is_sent(
    renter: Renter, folder: Path, tmp_path: Path
) -> None:
    """One sentence each, exit 2, and no request except the one for the order."""
    cases: list[tuple[tuple[object, ...], str]] = [
        (("--order", 7), "No command was given to run"),
        (("--order", 7, "--", " "), "No command was given to run"),
        (("--order", 7, "--folder", tmp_path / "no", "--", "x"), "does not exist"),
        (("--order", 7, "--folder", folder, "--output", "../up", "--", "x"), "can't be reached"),
        (("--order", 7, "--folder", folder, "--output", "/etc", "--", "x"), "can't be reached"),
        (("--order", 7, "--folder", folder, "--output", "file/x", "--", "x"), "is not a folder"),
        (("--order", 7, "--forward", "x", "--", "x"), "write PORT"),
        (("--order", 7, "--setup", "no.txt", "--", "x"), "there is no such file"),
        (("--order", 7, "--env-file", tmp_path / "no", "--", "x"), "can't be read"),
        (("--order", 7, "--lost-after", "soon", "--", "x"), "'soon' is no"),
        (("--order", 0, "--", "x"), "--order"),
    ]
    (folder / "file").write_text("")
    for words, said in cases:
        assert said in renter("run", *words, fails=2).err
    assert renter.requests("my_orders") == []
    assert not (renter.home / "jobs").exists()
    unknown = renter("run", "--order", 7, "--", "x", fails=4).err
    assert "have no order 7" in unknown
    assert "billed" not in unknown


def test_an_ended_order_is_reported_as_ended(renter: Renter, order: int, folder: Path) -> None:
    """Nothing is uploaded, no job is recorded, and the message mentions no bill."""
    renter("cancel", order)
    said = run(renter, order, folder, "--", "true", fails=4).err
    assert "has ended" in said
    assert "billed" not in said
    assert renter("jobs", "--json").data == []


def test_a_missing_command_is_127(renter: Renter, order: int, folder: Path) -> None:
    """Exit code 127 is passed on, with a message on what it means."""
    done = run(renter, order, folder, "--", "nosuchprogram", "--x", fails=127)
    assert "nosuchprogram" in done.out
    assert "--setup" in done.err


def test_json_is_one_value_at_the_end(renter: Renter, order: int, folder: Path) -> None:
    """With --json the job's output goes to stderr."""
    done = run(renter, order, folder, "--json", "--", "echo hello; exit 3", fails=3)
    assert {k: done.data[k] for k in ("id", "order_id", "state", "exit", "argv")} == {
        "id": 1, "order_id": order, "state": "ended", "exit": 3, "argv": ["echo hello; exit 3"],
    }  # fmt: skip
    assert "hello\n" in done.err
    logs = renter("logs", 1, "--json").data
    assert (logs["output"], logs["exit"]) == ("hello\n", 3)


def test_cancel_ends_the_order_too(renter: Renter, order: int, folder: Path) -> None:
    """With --cancel the machine is cancelled at the end, and its cost is printed."""
    done = run(renter, order, folder, "--cancel", "--", "exit 3", fails=3)
    assert f"Cancelled: order {order}" in done.err
    assert "cost" in done.err
    assert renter("orders", "--json").data == []


def test_a_detached_job_can_be_followed_again(renter: Renter, order: int, folder: Path) -> None:
    """--detach, then jobs, logs, logs -f, attach: no line lost or doubled, exit code kept.

    `attach` takes over from the follower in the background.
    """
    script = (
        "i=0; until [ -e go ]; do i=$((i+1)); echo line $i; sleep 0.1; done; "
        "mkdir o; echo $i > o/n; exit 6"
    )
    done = run(renter, order, folder, "--detach", "--cancel", "--output", "o", "--", script)
    assert done.out == ""
    assert "clore attach 1" in done.err
    (job,) = renter("jobs", "--json").data
    assert (job["state"], job["exit"], job["cancels"]) == ("watched", None, True)
    until(lambda: len(renter("logs", 1).out.splitlines()) > 3)
    followed = renter.start("logs", 1, "-f")
    with renter.start("attach", 1) as attached:
        assert attached.stdout is not None
        assert attached.stderr is not None
        first = attached.stdout.readline()
        assert renter("jobs", "--json").data[0]["state"] == "watched"
        assert "watched by another clore" in renter("attach", 1, fails=2).err
        renter("ssh", order, "--", "touch work/work_here/go")
        out, err = attached.stdout.read(), attached.stderr.read()
    assert attached.returncode == 6
    count = int((folder / "o" / "n").read_text())
    whole = "".join(f"line {i + 1}\n" for i in range(count))
    shown = first + out  # from where the follower had come to
    assert whole.endswith(shown)
    assert shown.startswith("line ")
    assert followed.communicate(timeout=60)[0] == whole
    assert renter("logs", 1).out == whole
    assert f"Cancelled: order {order}" in err
    assert "already ended" in renter("attach", 1, fails=6).err


def test_stop_ends_the_job_and_its_machine(renter: Renter, order: int, folder: Path) -> None:
    """All processes end, even those that ignore SIGTERM; outputs are fetched; the order ends."""
    script = (
        "mkdir o; (trap '' TERM; while :; do sleep 0.1; done) & "
        "trap 'echo bye > o/last; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    )
    run(renter, order, folder, "--detach", "--output", "o", "--", script)
    until(lambda: "up" in renter("logs", 1).out)
    stopped = renter("stop", 1)
    assert "was stopped" in stopped.err
    assert (folder / "o" / "last").read_text() == "bye\n"
    assert renter("jobs", "--json").data[0]["state"] == "stopped"
    assert renter("orders", "--json").data[0]["id"] == order
    assert "already ended" in renter("stop", 1).err
    assert "no job 9" in renter("stop", 9, fails=4).err

    run(renter, order, folder, "--detach", "--cancel", "--", "sleep 600")
    renter("stop", 2)
    assert renter("orders", "--json").data == []


def test_stop_is_noticed_by_a_running_command(renter: Renter, order: int, folder: Path) -> None:
    """The `clore run` that follows the job notices its end and does the rest."""
    process = renter.start(
        "run", "--order", order, "--folder", folder, "--cancel", "--", "echo up; sleep 600"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    assert "does the rest" in renter("stop", 1).err
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"Cancelled: order {order}" in err


def test_without_jobs_logs_and_jobs_say_so(renter: Renter) -> None:
    """With no jobs yet, both commands print that there are none."""
    assert "No jobs yet" in renter("jobs").err
    assert renter("jobs", "--json").data == []
    assert "There is no job 3" in renter("logs", 3, fails=4).err
    assert json.loads(renter("attach", 3, "--json", fails=4).err)["code"] == "not_found"


def test_python_runs_a_job_too(renter: Renter, order: int, folder: Path) -> None:
    """`client.run` and its async twin do the same and pass the output to a function."""
    import asyncio

    from clore_ai import AsyncCloreAI, CloreAI

    pieces: list[bytes] = []
    base_url = renter.market.base_url
    tree(folder, {"x": "1"})
    with CloreAI(renter.key, base_url, state=renter.home) as client:
        client.rate_limiter.min_interval = 0
        job = client.run(
            ["sh", "-c", "cat x; echo $A; mkdir o; echo 2 > o/y; exit 5"], order, folder=folder,
            outputs=["o"], env={"A": "a"}, on_output=pieces.append,
        )  # fmt: skip
    assert (job.code, job.state, b"".join(pieces)) == (5, "ended", b"1a\n")
    assert (folder / "o" / "y").read_text() == "2\n"

    async def main() -> int | None:
        async with AsyncCloreAI(renter.key, base_url, state=renter.home) as client:
            client.rate_limiter.min_interval = 0
            return (await client.run("exit 6", order, folder=folder, cancel=True)).code

    assert asyncio.run(main()) == 6
    assert renter("orders", "--json").data == []
    assert time.time() - job.begun_at < 60
