"""`clore run` before renting: what would be uploaded, and what needs consent."""

from __future__ import annotations

import asyncio
import os
import shlex
from typing import TYPE_CHECKING, Any, Callable

import pytest

from clore_ai import AsyncCloreAI, CloreAI
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.driver import Renter, Terminal

WISH = ("--gpu", "RTX", "--currency", "USD", "--yes")
FOUND = ("--", "find . ! -type d | sort")


def tree(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")


def suggested(error: str) -> list[str]:
    """The options that the error suggests."""
    lines = [line for line in error.splitlines() if "allow it: " in line]
    return [word for line in lines for word in shlex.split(line.split("allow it: ")[1])]


def test_a_folder_with_a_users_private_files_is_refused(renter: Renter, tmp_path: Path) -> None:
    """Refused: the home folder, its parents, private folders, any parent of the state folder."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    apart = tmp_path / "apart" / "in" / "it"
    apart.mkdir(parents=True)
    (tmp_path / "state").symlink_to(apart)
    tree(tmp_path, ".ssh/in/x", ".config/gh/x", ".clore/jobs/1/log")
    elsewhere = {"CLORE_HOME": str(tmp_path / "state")}
    for place, env, said in (
        (tmp_path, {}, "your home folder"),
        (tmp_path.parent, {}, "your home folder"),
        ("/", {}, "all files"),
        (link, {}, "your home folder"),
        (tmp_path / "apart", elsewhere, "state folder"),
        (tmp_path / "apart" / "in", elsewhere, "state folder"),
        (tmp_path / ".clore" / "jobs", {}, "ever uploaded"),
        (apart, elsewhere, "ever uploaded"),
        (tmp_path / ".ssh" / "in", {}, "ever uploaded"),
        (tmp_path / ".config" / "gh", {}, "ever uploaded"),
    ):
        for words in (WISH, ("--order", 7)):
            done = renter("run", *words, "--folder", place, "--", "true", fails=2, **env)
            assert said in done.err
            assert "--folder DIR" in done.err
            assert ("--yes-really" in done.err) == ("ever" not in said)
    assert "ever" in renter(
        "run", *WISH, "--yes-really", "--folder", tmp_path / ".ssh", "--", "true", fails=2
    ).err  # fmt: skip
    assert renter.orders() == []
    assert renter("jobs", "--json").data == []


def test_yes_really_uploads_the_home_folder_without_keys(
    renter: Renter, order: int, tmp_path: Path
) -> None:
    """--yes-really allows the home folder; the state folder, .ssh and the like stay out."""
    tree(tmp_path, ".ssh/id_rsa", ".aws/credentials", ".netrc", ".config/gh/hosts.yml", "x", "w/y")
    words = ("run", "--order", order, "--folder", tmp_path)
    assert renter(*words, "--yes-really", *FOUND).out == "./w/y\n./x\n"
    assert "config.json" not in renter(*words, "--no-upload", "--", "find . ~").out


def test_keys_must_be_named_or_left_out(renter: Renter, order: int, folder: Path) -> None:
    """Without a terminal, or with --yes: exit 2, and the options to type."""
    tree(folder, "train.py", ".env", "my key.pem", "keys/id_ed25519", "tokenizer.json")
    words = ("run", "--order", order, "--folder", folder)
    for some in (words, (*words, "--yes"), ("run", *WISH, "--folder", folder)):
        done = renter(*some, *FOUND, fails=2)
        assert "look like secrets" in done.err
        assert done.err.count("  secret?") == 3
    typed = suggested(done.err)
    assert typed[1::2] == [".env", "keys/id_ed25519", "my key.pem"]
    assert len(renter.orders()) == 1
    assert renter("jobs", "--json").data == []

    error = renter(*words, *typed[:4], *FOUND, fails=2).err
    assert suggested(error) == ["--send-secret", "my key.pem"]
    assert "./.env\n./keys/id_ed25519\n" in renter(*words, *typed, *FOUND).out
    assert "no file of that name" in renter(*words, "--send-secret", "no", *FOUND, fails=2).err
    tree(folder, ".cloreignore")
    (folder / ".cloreignore").write_text(".env\n*.pem\n")
    assert renter(*words, "--send-secret", folder / "keys", *FOUND).out.splitlines() == [
        "./.cloreignore", "./keys/id_ed25519", "./tokenizer.json", "./train.py",
    ]  # fmt: skip


def test_a_large_upload_needs_consent(renter: Renter, order: int, folder: Path) -> None:
    """Above 200 MB or --max-upload it needs consent; the plan shows the size and the folders."""
    tree(folder, "x", "src/y")
    (folder / "data").mkdir()
    os.truncate(os.open(folder / "data" / "holes", os.O_CREAT | os.O_WRONLY), 300_000_000)
    words = ("run", "--order", order, "--folder", folder)
    for some in (words, ("run", *WISH, "--folder", folder)):
        done = renter(*some, *FOUND, fails=2)
        assert "3 files, 300 MB; biggest folders: data 300 MB, src 6 B" in done.err
        assert suggested(done.err) == ["--max-upload", "301MB"]
    os.truncate(folder / "data" / "holes", 2_000_000)
    assert "data 2.0 MB" in renter(*words, *FOUND).err
    error = renter(*words, "--max-upload", "1.5MB", *FOUND, fails=2).err
    assert renter(*words, *suggested(error), *FOUND).out == "./data/holes\n./src/y\n./x\n"
    assert "write 500MB or 2GB" in renter(*words, "--max-upload", "5", *FOUND, fails=2).err
    assert len(renter.orders()) == 1


def test_links_that_lead_outside_are_listed(renter: Renter, order: int, folder: Path) -> None:
    """Such links are uploaded as links, and lead nowhere on the machine."""
    tree(folder, "x")
    for name, target in (("in", "x"), ("out", "../y"), ("far", "/etc/passwd")):
        (folder / name).symlink_to(target)
    done = renter("run", "--order", order, "--folder", folder, "--", "readlink far in out")
    assert done.out == "/etc/passwd\nx\n../y\n"
    shown = [line.split()[1] for line in done.err.splitlines() if "leads outside" in line]
    assert shown == ["far", "out"]


def test_a_terminal_asks_before_uploading_keys(
    renter: Renter, order: int, folder: Path, terminal: Callable[..., Terminal]
) -> None:
    """Enter means No; --yes does not answer the question, so the files must be named."""
    tree(folder, ".env")
    opened = terminal(renter)
    words = f"clore run --order {order} --folder {folder}"
    opened.start(f"{words} -- cat .env")
    opened.wait("Upload all of it?")
    opened.keys("Enter")
    assert "Nothing was sent." in opened.wait("end=1")
    opened.start(f"{words} -- cat .env")
    opened.wait("Upload all of it?")
    opened.type("y")
    assert "\n.env\n" in opened.wait("end=0")
    assert "--send-secret .env" in opened.run(f"{words} --yes -- cat .env")
    assert len(renter("jobs", "--json").data) == 1


def test_decoys_hide_no_secret(
    renter: Renter, order: int, folder: Path, terminal: Callable[..., Terminal]
) -> None:
    """Each file in question is listed; a list too long to read is refused without a question."""
    tree(folder, ".env", *(f"#test_key_{number}.pem" for number in range(30)))
    opened = terminal(renter)
    words = f"clore run --order {order} --folder {folder} -- true"
    opened.start(words)
    assert "secret?   .env" in opened.wait("Upload all of it?")
    opened.keys("Enter")
    opened.wait("end=1")
    tree(folder, *(f"more_{number}.pem" for number in range(100)))
    assert "Upload all" not in opened.run(words)
    assert "end=2" in opened.screen


def test_a_job_file_cannot_consent_to_an_upload(renter: Renter, folder: Path) -> None:
    """The file may have come with the folder."""
    tree(folder, ".env")
    for line in ('send-secret = ".env"', "yes-really = true"):
        (folder / "job.toml").write_text(f'order = 7\ncommand = "true"\n{line}\n')
        words = ("run", "--file", folder / "job.toml", "--folder", folder)
        assert "there is no option" in renter(*words, fails=2).err


def test_python_needs_the_same_consent(renter: Renter, order: int, folder: Path) -> None:
    """There is no question: the error names the parameter, and the order is kept."""
    tree(folder, "x", ".env")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"folder": folder}, r"send_secrets=\['.env'\]"),
        ({"folder": folder, "send_secrets": [".env"], "max_upload": "6b"}, "max_upload='1MB'"),
        ({"folder": folder, "max_upload": "6"}, "max_upload: '6' is not a size"),
        ({"folder": folder.parent}, "yes_really=True"),
        ({"folder": "/"}, "yes_really=True"),
        ({"folder": renter.home / "jobs", "yes_really": True}, "ever uploaded"),
    ]
    (renter.home / "jobs").mkdir(parents=True, exist_ok=True)
    base_url = renter.market.base_url

    async def twin(given: dict[str, Any]) -> None:
        async with AsyncCloreAI(renter.key, base_url, state=renter.home) as client:
            await client.run("true", order, cancel=True, **given)

    with CloreAI(renter.key, base_url, state=renter.home) as client:
        client.rate_limiter.min_interval = 0
        for given, said in cases:
            with pytest.raises(InvalidInputError, match=said):
                client.run("true", order, cancel=True, **given)
            with pytest.raises(InvalidInputError, match=said):
                asyncio.run(twin(given))
        pieces: list[bytes] = []
        client.run(
            "cat x .env", order, folder=folder, send_secrets=[".env"], on_output=pieces.append
        )
    assert b"".join(pieces) == b"x\n.env\n"
    assert renter("orders", "--json").data[0]["id"] == order


def test_a_folder_named_like_a_secret_hides_no_option(renter: Renter, tmp_path: Path) -> None:
    """The option after such a name is no secret, and is shown in the error."""
    tree(tmp_path, "token-data/.env", "token-data/x")
    words = ("run", "--order", 7, "--folder", tmp_path / "token-data", "--send-secret", "x")
    assert suggested(renter(*words, "--", "true", fails=2).err) == ["--send-secret", ".env"]
