"""Runs `clore reap` regularly: as a unit of the user's systemd, or a line of their crontab.

Neither holds the key: the command reads it from the config file. There is one entry for each state
folder and context; installing it twice changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clore_ai._api.steps import Exec, Flow, local
from clore_ai._state.folder import private_folder, state_folder, write_private
from clore_ai._values.text import plain
from clore_ai.config import config_file, resolve
from clore_ai.exceptions import AuthError, ConfigError

if TYPE_CHECKING:
    from clore_ai._api.steps import Done

_WITHIN_S = 20.0
_NOT_HERE = 127
_KEPT = ("CLORE_BASE_URL", "CLORE_CONTEXT", "CLORE_REQUESTS_PER_SECOND")
"""Environment settings that the command needs besides the folder; none of them is a secret."""
_INSTEAD = "Keep this running instead: clore reap --every 60s"


@dataclass(frozen=True)
class Unattended:
    """What runs `clore reap` now."""

    notes: tuple[str, ...]
    """The same in sentences, with what changed and the next commands."""
    systemd: str | None = None
    """The state of systemd's unit in its word, or its name if it was just installed."""
    cron: bool = False
    keeper: bool | None = None
    """Does the key's background process run? None if that was not asked."""

    def row(self) -> dict[str, Any]:
        """The entries for ``--json``."""
        known = {} if self.keeper is None else {"keeper": self.keeper}
        return {"systemd": self.systemd, "cron": self.cron, **known}


def install() -> Flow[Unattended]:
    """Install the entry.

    Raises:
        AuthError: there is no key.
        ConfigError: the key is not in the config file, or neither systemd nor cron can be used.
    """
    yield from local(_check_key)
    unit = _unit()
    if _worked((yield from _systemctl("show-environment"))):
        yield from local(_write_unit)
        for words in (("daemon-reload",), ("enable", unit), ("restart", unit)):
            done = yield from _systemctl(*words)
            if not _worked(done):
                raise ConfigError(
                    f"systemctl --user {' '.join(words)} failed ({_why(done)}). {_INSTEAD}"
                )
        return Unattended(
            (
                f"{unit} of systemd runs clore reap from now on, and after a restart.",
                "To run it also while you are logged out: loginctl enable-linger",
                f"Its log: journalctl --user -u {unit}",
            ),
            unit,
        )
    lines = yield from _crontab()
    if lines is None:
        raise ConfigError(f"Neither systemd nor cron is available here. {_INSTEAD}")
    line = yield from local(_line)
    yield from _set_crontab([*(each for each in lines if not _ours(each)), line])
    note = "cron runs clore reap every minute from now on. See: crontab -l"
    return Unattended((note,), cron=True)


def uninstall() -> Flow[Unattended]:
    """Undo `install`."""
    unit, path = _unit(), _unit_file()
    notes: list[str] = []
    if (yield from local(path.exists)):
        notes.append(f"{unit} of systemd is removed.")
        yield from _systemctl("disable", "--now", unit)
        yield from local(path.unlink, missing_ok=True)
        yield from _systemctl("daemon-reload")
    lines = (yield from _crontab()) or []
    kept = [line for line in lines if not _ours(line)]
    if kept != lines:
        notes.append("The line of clore reap is removed from your crontab.")
        yield from _set_crontab(kept)
    return Unattended(tuple(notes) or ("Nothing was installed.",))


def status() -> Flow[Unattended]:
    """What is installed now."""
    systemd: str | None = None
    notes: list[str] = []
    if (yield from local(_unit_file().exists)):
        done = yield from _systemctl("is-active", _unit())
        systemd = "can't be asked" if done is None else _text(done.out) or "unknown"
        notes.append(f"systemd: {_unit()} is {systemd}.")
    cron = any(map(_ours, (yield from _crontab()) or []))
    if cron:
        notes.append("cron: clore reap runs every minute.")
    none = "Neither systemd nor cron runs clore reap. Set it up: clore reap --install"
    return Unattended(tuple(notes) or (none,), systemd, cron)


def _check_key() -> None:
    settings = resolve()
    if settings.api_key is None:
        raise AuthError("There is no API key", 3)
    if settings.api_key_source != str(config_file()):
        raise ConfigError(
            f"The key comes from {settings.api_key_source}, which systemd and cron can't read. "
            "Store it first: clore config set api_key"
        )


def _words() -> list[str]:
    return [sys.executable, "-m", "clore_ai", "reap"]


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if os.environ.get(name)}
    return {"CLORE_HOME": str(state_folder().absolute()), **kept}


def _mark() -> str:
    """A name for the entry of this state folder and context."""
    text = f"{state_folder().absolute()}\n{os.environ.get('CLORE_CONTEXT', '')}"
    return f"clore-reap-{hashlib.sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"


# -- systemd ---------------------------------------------------------------------------------------


def _unit() -> str:
    return f"{_mark()}.service"


def _unit_file() -> Path:
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(config) / "systemd" / "user" / _unit()


def _systemctl(*words: str) -> Flow[Done | None]:
    return _run("systemctl", "--user", *words)


def _write_unit() -> None:
    # Systemd expands variables in a command, too.
    words = [*_words(), "--every", "60s", "--json"]
    command = " ".join(_quoted(word.replace("$", "$$")) for word in words)
    environment = "\n".join(
        f"Environment={_quoted(f'{name}={value}')}" for name, value in _environment().items()
    )
    path = _unit_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(
        path,
        "[Unit]\n"
        "Description=Cancel Clore.ai orders past their limits\n"
        "After=network-online.target\n\n"
        "[Service]\n"
        f"{environment}\n"
        f"ExecStart={command}\n"
        "Restart=on-failure\n"
        "RestartSec=60\n\n"
        "[Install]\n"
        "WantedBy=default.target\n",
    )


def _quoted(word: str) -> str:
    """Quoted as a unit file needs it, with specifiers escaped."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{word}"'


# -- cron ------------------------------------------------------------------------------------------


def _line() -> str:
    words = ["env", *(f"{name}={value}" for name, value in _environment().items()), *_words()]
    said = private_folder(state_folder().absolute()) / "reap.log"
    line = f"{shlex.join(words)} --json >/dev/null 2>{shlex.quote(str(said))}"
    return f"* * * * * {line} # {_mark()}".replace("%", "\\%")


def _ours(line: str) -> bool:
    return line.rstrip().endswith(f"# {_mark()}")


def _crontab() -> Flow[list[str] | None]:
    """The lines of the user's crontab; None if there is no cron, or if it can't be read."""
    done = yield from _run("crontab", "-l")
    if done is None:
        return None
    if _worked(done):
        return done.out.decode("utf-8", "replace").splitlines()
    # Any other answer may mean that a crontab exists; writing would overwrite it.
    return [] if b"no crontab for" in done.err else None


def _set_crontab(lines: list[str]) -> Flow[None]:
    done = yield from _run("crontab", "-", given="".join(f"{line}\n" for line in lines))
    if not _worked(done):
        raise ConfigError(f"The crontab can't be written ({_why(done)}). {_INSTEAD}")


def _run(*words: str, given: str = "") -> Flow[Done | None]:
    """The result; None if the program is missing, or does not answer."""
    done: Done = yield Exec(("env", "LC_ALL=C", *words), given.encode(), _WITHIN_S)
    return None if done.code in (None, _NOT_HERE) else done


def _worked(done: Done | None) -> bool:
    return done is not None and done.code == 0


def _why(done: Done | None) -> str:
    return "no answer" if done is None else plain(_text(done.err)) or f"exit {done.code}"


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace").strip()
