"""No command with --debug --curl shows a secret: not in streams, in files or process lists."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING, Any, Callable

import click
import in_process
import pytest
from leaks import Watch, answering, clean, clean_files, everything, page
from tests.cli.driver import DEPLOY, SHORT, Clore, Renter, forks_with, shared_forks

from clore_ai import CloreAI
from clore_ai.cli import SECTIONS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRETS = {
    "key": 'Ke7+/="%s-of-an-account',
    "control": "cO9+/=%-of-the-controls",
    "password": "pA5+/=%é-of-an-order",
    "token": "tO3+/=%'-of-jupyter",
    "env": 'eN1+/=%"é\\-of-a-variable',
}
ALL = tuple(SECRETS.values())
UNNAMED = "sEcret-without-a-name"
STDIN = f"{SECRETS['password']}\n{SECRETS['token']}\n"
RENT = (
    *DEPLOY, "USD-Blockchain", "--ssh-password", "-", "--jupyter-token", "-", "--env", "OF_MINE",
    "--command", 'echo "$OF_MINE" > mine',
)  # fmt: skip

# Expensive servers, so that no test asks for one by its number.
WISH = (
    "--gpu", "RTX 4090", "--gpus", "8", "--jupyter-token", "-", "--env", "OF_MINE",
    "--command", 'echo "$OF_MINE" > mine',
)  # fmt: skip

# Every command as typed when all is well; ORDER and SERVER exist. A new command needs a line
# here. None: the command has a test of its own below.
CASES: dict[str, list[tuple[str, ...]] | None] = {
    "search": [("--limit", "2"), ("--json", "--limit", "1")],
    "rent": [
        (*WISH, "--yes"),
        (*WISH, "--dry-run", "--json", "--top", "2"),
        (*WISH, "--yes", "--json", "--verify-cmd", "true"),
    ],
    "watch": [("--gpu", "RTX 4090", "--once", "--json", "--notify-cmd", "true")],
    "monitor": [("--once", "--no-gpu"), ("--once", "--json")],
    "deploy": [("SERVER", *RENT), ("SERVER", *RENT, "--json", "--dry-run"), ("OTHER", *RENT)],
    "orders": [(), ("--completed", "--json")],
    "ssh": [("ORDER", "--json"), ("ORDER", "--", "true")],
    "cancel": [("ORDER", "--json", "--issue", "slow", "--wait-timeout", "5")],
    "wallets": [(), ("--json",)],
    "ledger": [(), ("--json",), ("--csv", "--by", "gpu")],
    "orphans": [(), ("--json", "--adopt", "all")],
    "budget set": [("20/day", "--currency", "CLORE"), ("500/month", "--json")],
    "budget unset": [("day",), ("--json",)],
    "lease extend": [("ORDER", "1h"), ("ORDER", "1h", "--json")],
    "lease set": [("ORDER", "2h"), ("ORDER", "none", "--json")],
    "reap": [("--dry-run",), ("--json",)],
    "spot show": [("SERVER",), ("SERVER", "--json")],
    "spot auto": [
        ("ORDER", "--max", "1/h", "--once", "--yes", "--json"),
        (
            "ORDER",
            "--max",
            "1/h",
            "--once",
            "--yes",
            "--fallback",
            "server",
            "--env",
            "OF_MINE",
            "--ssh-password",
            "-",
            "--jupyter-token",
            "-",
        ),
    ],
    "hosts list": [(), ("--json",)],
    "hosts block": [("7", "owner:8", "--note", "slow"), ("9", "--json")],
    "hosts allow": [("7",), ("9", "--json")],
    "hosts import": [("-",), ("-", "--json")],
    "hosts export": [(), ("--json",)],
    "spot-price": [("ORDER", "3"), ("ORDER", "3", "--json")],
    "servers": [(), ("--json",)],
    "server-config": [("mine",), ("mine", "--json")],
    "config set": [("api_key",), ("api_key", "--json")],
    "config get": [("api_key",), ("api_key", "--json")],
    "config show": [(), ("--json",)],
    "run": None,
    "jobs": None,
    "logs": None,
    "attach": None,
    "stop": None,
    "sandbox up": None,
    "sandbox status": None,
    "sandbox down": None,
    "demo": None,
}
CALLING = [
    name
    for name, cases in CASES.items()
    if cases and not name.startswith(("config", "budget", "hosts"))
]


def leaves(command: click.Command, name: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        for word, below in command.commands.items():
            yield from leaves(below, f"{name} {word}")
    else:
        yield name


def test_every_command_has_a_case() -> None:
    """A new command without one fails here."""
    found: set[str] = set()
    for name, _, _ in (row for rows in SECTIONS.values() for row in rows):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        found |= set(leaves(command, name))
    assert found == set(CASES)


def run(user: Clore, *words: str, stdin: str = STDIN, stdout: bool = True, **env: str) -> str:
    """Run a command with both flags, check that nothing shows a secret, and return its stderr."""
    return watched(user, *words, stdin=stdin, stdout=stdout, **env)[0]


def watched(
    user: Clore, *words: str, stdin: str = STDIN, stdout: bool = True, **env: str
) -> tuple[str, set[bytes]]:
    """The command's stderr, and the command lines of every process it started."""
    watches: list[Watch] = []
    env = {**user.env, **env}
    command = next(word for word in words if not word.startswith("-"))
    if command in SHORT:
        watches.append(Watch(os.getpid()))
        done = in_process.run([*words], env, stdin, shared_forks().python)
    else:
        done = shared_forks().run(
            ["clore", *words], env, stdin, 60, lambda pid: watches.append(Watch(pid))
        )
    out, err, lines = done.stdout, done.stderr, watches[0].stop()
    line = shlex.join(words)
    clean(err, ALL, f"stderr of {line}")
    if stdout:
        clean(out, ALL, f"stdout of {line}")
    assert "Traceback" not in err
    for command in lines:
        clean(command, ALL, f"a process of {line}")
    return err, lines


def flagged(words: tuple[str, ...], number: int) -> list[str]:
    """The command with both flags: before its name, after it, and one on each side."""
    first = [["--debug", "--curl"], [], ["--debug"]][number % 3]
    last = [flag for flag in ("--debug", "--curl") if flag not in first]
    groups = ("budget", "config", "hosts", "lease", "sandbox", "spot")
    at = 1 + (words[0] in groups)
    return [*first, *words[:at], *last, *words[at:]]


def filled(words: tuple[str, ...], order: int, servers: list[int]) -> tuple[str, ...]:
    names = {"ORDER": str(order), "SERVER": str(servers[0]), "OTHER": str(servers[-1])}
    return tuple(names.get(word, word) for word in words)


def in_private(path: Path) -> bool:
    return path.name == "config.json" or path.parent.name in ("ssh", "sandbox")


@pytest.fixture
def user(renter: Renter) -> Renter:
    """A renter with a key of odd characters and a secret environment variable."""
    key = f"{SECRETS['key']}-{renter.key[-12:]}"
    renter.market.create_account({"bitcoin": 1, "USD-Blockchain": 1_000}, api_key=key)
    renter.key = key
    renter.env |= {"CLORE_API_KEY": key, "OF_MINE": SECRETS["env"]}
    return renter


@pytest.fixture
def order(user: Renter) -> int:
    """This renter's order, with every secret that an order can have."""
    with CloreAI(user.key, user.market.base_url) as api:
        api.rate_limiter.min_interval = api.rate_limiter.create_order_delay = 0
        made = api.create_order(
            user.server(), "img", "on-demand", "USD-Blockchain", SECRETS["password"],
            ports={"22": "tcp"}, env={"OF_MINE": SECRETS["env"]}, jupyter_token=SECRETS["token"],
        )  # fmt: skip
    return made.id


@pytest.mark.parametrize("name", CALLING)
def test_successful_commands_show_no_secret(user: Renter, order: int, name: str) -> None:
    """Every command runs against the marketplace, and again after lost and refused responses."""
    servers = [user.server(), user.server()]
    cases = CASES[name]
    assert cases
    for number, words in enumerate(cases):
        err = run(user, *flagged((*name.split(), *filled(words, order, servers)), number))
        assert "curl -sS" in err
        assert "< GET /v1/" in err
    for endpoint in ("marketplace", "wallets", "my_orders", "my_servers", "server_config"):
        user.fault(endpoint, "act_then_cut")
    user.fault("create_order", "act_then_500")
    user.fault("cancel_order", "500")
    run(user, *flagged((*name.split(), *filled(cases[0], order, servers)), 1))
    clean_files(user.home, ALL, but=in_private)


@pytest.mark.parametrize("name", CALLING)
def test_failing_commands_show_no_secret(user: Renter, name: str) -> None:
    """A refused key, a page that quotes header and body, a host that answers with every secret."""
    cases = CASES[name]
    assert cases
    words = filled(cases[-1], 7, [user.server()])
    unknown = f"{SECRETS['key']}-unknown"
    # These commands query only orders of the ledger, which is empty here.
    asks = not name.startswith(("lease", "reap"))
    assert (
        name in ("search", "watch")
        or not asks
        or "401" in run(user, *flagged((*name.split(), *words), 2), CLORE_API_KEY=unknown)
    )
    answers: list[Callable[[str], Any]] = [page, everything(SECRETS)]
    for number, answer in enumerate(answers):
        with answering(answer) as base_url:
            err = run(user, *flagged((*name.split(), *words), number), CLORE_BASE_URL=base_url)
        assert "(try 1)" in err or not asks


def test_config_shows_the_key_only_with_reveal(user: Renter) -> None:
    """A key is set, read and shown; only --reveal prints it, and only its file holds it."""
    bare = user.with_(CLORE_API_KEY="")
    for name in ("config set", "config get", "config show", "budget set", "budget unset"):
        for number, words in enumerate(CASES[name] or ()):
            run(bare, *flagged((*name.split(), *words), number), stdin=f"{SECRETS['key']}\n")
    for name in (n for n in CASES if n.startswith("hosts")):
        for number, words in enumerate(CASES[name] or ()):
            run(bare, *flagged((*name.split(), *words), number), stdin="12  # slow\n")
    assert bare("config", "get", "api_key", "--reveal", "--debug").out == f"{SECRETS['key']}\n"
    assert SECRETS["key"].encode() not in b"".join(
        path.read_bytes()
        for path in bare.home.rglob("*")
        if path.is_file() and path.name != "config.json"
    )
    text = (bare.home / "config.json").read_text()
    (bare.home / "config.json").write_text(text.rstrip()[:-1])
    for name in ("wallets", "config show", "config set api_key"):
        run(bare, *flagged(tuple(name.split()), 0), stdin=f"{SECRETS['key']}\n")


@pytest.mark.parametrize(
    "words",
    [
        ("--env", UNNAMED),
        ("--env", f"A={SECRETS['env']}&"),
        ("--ssh-password", SECRETS["password"] * 3),
        ("--jupyter-token", SECRETS["token"] * 3),
        ("--ssh-key", SECRETS["token"]),
        ("--ssh-password", SECRETS["password"], "--ssh-key", "ssh-ed25519"),
        (f"--ssh-password={SECRETS['password']}", "--port", SECRETS["password"]),
    ],
    ids=str,
)
def test_usage_errors_do_not_quote_what_was_typed(new_user: Clore, words: tuple[str, ...]) -> None:
    """A usage error names the option, never its value."""
    new_user.secrets = [*ALL, UNNAMED]
    assert new_user("deploy", "7", *DEPLOY, "bitcoin", *words, "--debug", fails=2).err


def test_a_traceback_shows_no_secret(user: Renter, tmp_path: Path) -> None:
    """The traceback of --debug and CLORE_DEBUG=1 is scrubbed, and so is the one sentence."""
    (tmp_path / "httpx.py").write_text(
        "import os, sys\nraise ZeroDivisionError(os.environ['CLORE_API_KEY'], sys.argv)"
    )
    broken = user.with_(PYTHONPATH=str(tmp_path))
    words = ("deploy", "7", *DEPLOY, "bitcoin", "--ssh-password", SECRETS["password"])
    for more, env, shown in (
        (["--debug"], {}, True),
        ([], {"CLORE_DEBUG": "1"}, True),
        ([], {}, 0),
    ):
        done = forks_with(str(tmp_path)).run(
            ["clore", *words, *more], {**broken.env, **env}, "", 60
        )
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) == shown
        assert "ZeroDivisionError" in done.stderr.splitlines()[-1]
        clean(done.stdout + done.stderr, ALL, "a bug")


def test_the_sandbox_shows_its_keys_only_on_stdout(local: Clore) -> None:
    """`up` and `status` print the keys on stdout, as asked; they appear nowhere else."""
    keys = {
        "CLORE_SANDBOX_API_KEY": SECRETS["key"],
        "CLORE_SANDBOX_CONTROL_KEY": SECRETS["control"],
    }
    run(local, *flagged(("sandbox", "up", "--detach"), 0), stdout=False, **keys)
    assert "already runs" in run(local, *flagged(("sandbox", "up"), 1), **keys)
    run(local, *flagged(("sandbox", "status"), 2), stdout=False)
    run(local, *flagged(("sandbox", "down"), 0))
    assert "No marketplace" in run(local, *flagged(("sandbox", "status"), 1))
    clean_files(local.home, ALL, but=in_private)


def test_job_variables_are_not_recorded(user: Renter, order: int, tmp_path: Path) -> None:
    """Variables of a job travel inside SSH's stream; no record, log or process list shows them."""
    with CloreAI(user.key, user.market.base_url) as api:
        api.rate_limiter.min_interval = 0
        api.cancel_order(order)  # This order has a password.
    mine = str(user.rent())
    file = tmp_path / "variables"
    file.write_text(f"OF_FILE='{SECRETS['token']}'\n")
    folder = tmp_path / "w"
    folder.mkdir()
    words = ("run", "--order", mine, "--folder", str(folder), "--env", "OF_MINE",
             "--env-file", str(file), "--output", "o")  # fmt: skip
    script = (
        'mkdir o; echo "$OF_MINE$OF_FILE" > mine; echo ${#OF_MINE}; '
        "until [ -e go ]; do sleep .1; done"
    )
    for number, line in enumerate((
        (*words, "--detach", "--", script), ("jobs",), ("jobs", "--json"), ("logs", "1"),
        ("stop", "1"), (*words, "--", "cat go; exit 3"), ("attach", "2"), ("logs", "2", "--json"),
    )):  # fmt: skip
        first, last = line, ()
        if "--" in line:
            first, last = line[: line.index("--")], line[line.index("--") :]
        err = run(user, *flagged(first, number), *last)
        assert "Error: " not in err
    assert "run" in err or user("logs", "1").out == f"{len(SECRETS['env'])}\n"
    clean_files(user.home, ALL, but=in_private)
    unknown = f"{SECRETS['key']}-unknown"
    assert "401" in run(user, *flagged(words, 0), "--", "true", CLORE_API_KEY=unknown)


@pytest.mark.exhaustive
def test_the_demo_shows_no_secret(local: Clore) -> None:
    """The requests of every part of the demo are shown, and none of its secrets."""
    err, lines = watched(local, "demo", "--debug", "--curl", CLORE_SANDBOX_API_KEY=SECRETS["key"])
    for program in (b"clore_sandbox", b"deploy", b"ssh"):
        assert any(program in line for line in lines), f"{program!r} was never seen"
    assert "POST /v1/create_order" in err
    assert "$CLORE_API_KEY" in err


def test_curl_lines_work_as_printed(user: Renter, order: int) -> None:
    """The --curl lines of a GET and a POST work when pasted into a shell that has the key."""
    env = {"PATH": user.env["PATH"], "CLORE_API_KEY": user.key}
    for words, path, code in (("orders",), "my_orders", 0), (("cancel", str(order)), "cancel", 6):
        err = run(user, *words, "--curl")
        assert "< GET" not in err
        lines = [line for line in err.splitlines() if f"/{path}" in line and "curl -sS" in line]
        done = subprocess.run(
            ["sh", "-c", lines[0]], env=env, capture_output=True, text=True, check=True, timeout=20
        )
        assert f'"code":{code}' in done.stdout.replace(" ", "")
