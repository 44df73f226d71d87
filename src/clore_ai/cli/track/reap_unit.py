"""What has `clore reap` run by itself: a unit of the user's systemd, or a line of their crontab.

Both read the key from the config file: it is in neither. One a state folder and context; setting up
twice changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clore_ai._state.folder import private_folder, state_folder, write_private
from clore_ai.config import config_file, resolve
from clore_ai.exceptions import AuthError, ConfigError

_WITHIN_S = 20.0
_KEPT = ("CLORE_BASE_URL", "CLORE_CONTEXT", "CLORE_REQUESTS_PER_SECOND")
"""Settings of the environment that it needs as well, besides the folder; none is a secret."""
_INSTEAD = "Keep this running instead: clore reap --every 60s"


@dataclass
class Found:
    """What is set up: `facts` for ``--json``, `notes` for people."""

    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    notes: list[str] = field(default_factory=list[str])


def install() -> Found:
    """Have it run from now on.

    Raises:
        AuthError: there is no key.
        ConfigError: the key is not in the config file, or neither systemd nor cron can be used.
    """
    _key_is_kept()
    if _systemd_works():
        _write_unit()
        for words in (("daemon-reload",), ("enable", _unit()), ("restart", _unit())):
            done = _systemctl(*words)
            if done is None or done.returncode:
                raise ConfigError(
                    f"systemctl --user {' '.join(words)} failed ({_why(done)}). {_INSTEAD}"
                )
        return Found(
            {"systemd": _unit(), "cron": False},
            [
                f"{_unit()} of systemd runs clore reap from now on, and after a restart.",
                "To run it also while you are logged out: loginctl enable-linger",
                f"Its log: journalctl --user -u {_unit()}",
            ],
        )
    lines = _crontab()
    if lines is None:
        raise ConfigError(f"Neither systemd nor cron is available here. {_INSTEAD}")
    _set_crontab([*(line for line in lines if not _ours(line)), _line()])
    return Found(
        {"systemd": None, "cron": True},
        ["cron runs clore reap every minute from now on. See: crontab -l"],
    )


def uninstall() -> Found:
    """Take back what `install` did; nothing where it did nothing."""
    notes: list[str] = []
    path = _unit_file()
    if path.exists():
        _systemctl("disable", "--now", _unit())
        path.unlink(missing_ok=True)
        _systemctl("daemon-reload")
        notes.append(f"{_unit()} of systemd is removed.")
    lines = _crontab() or []
    kept = [line for line in lines if not _ours(line)]
    if kept != lines:
        _set_crontab(kept)
        notes.append("The line of clore reap is removed from your crontab.")
    return Found({"systemd": None, "cron": False}, notes or ["Nothing was installed."])


def status(*, keeper: bool) -> Found:
    """What is set up, and whether a process keeps limits in the background now."""
    notes: list[str] = []
    systemd = None
    if _unit_file().exists():
        done = _systemctl("is-active", _unit())
        state = "can't be asked" if done is None else done.stdout.strip() or "unknown"
        systemd = state
        notes.append(f"systemd: {_unit()} is {state}.")
    cron = any(_ours(line) for line in _crontab() or [])
    if cron:
        notes.append("cron: clore reap runs every minute.")
    if not notes:
        notes.append("Neither systemd nor cron runs clore reap. Set it up: clore reap --install")
    running = "is running" if keeper else "is not running; the next command that needs it starts it"
    notes.append(f"The background process of this key {running}.")
    return Found({"systemd": systemd, "cron": cron, "keeper": keeper}, notes)


def _key_is_kept() -> None:
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
    """A name for what is installed for this state folder and context."""
    text = f"{state_folder().absolute()}\n{os.environ.get('CLORE_CONTEXT', '')}"
    return f"clore-reap-{hashlib.sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"


# -- systemd ---------------------------------------------------------------------------------------


def _unit() -> str:
    return f"{_mark()}.service"


def _unit_file() -> Path:
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(config) / "systemd" / "user" / _unit()


def _systemctl(*words: str) -> subprocess.CompletedProcess[str] | None:
    return _run(["systemctl", "--user", *words])


def _systemd_works() -> bool:
    done = _systemctl("show-environment")
    return done is not None and done.returncode == 0


def _write_unit() -> None:
    # Of a command systemd expands variables, too.
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
    """As a unit has it: quoted, and without specifiers."""
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


def _crontab() -> list[str] | None:
    """The lines of the user's crontab; None where there is no cron, or it can't be read."""
    done = _run(["crontab", "-l"])
    if done is None:
        return None
    if done.returncode == 0:
        return done.stdout.splitlines()
    # Anything else may be a crontab that is there, and would be overwritten.
    return [] if "no crontab for" in done.stderr else None


def _set_crontab(lines: list[str]) -> None:
    done = _run(["crontab", "-"], "".join(f"{line}\n" for line in lines))
    if done is None or done.returncode:
        raise ConfigError(f"The crontab can't be written ({_why(done)}). {_INSTEAD}")


def _run(words: list[str], given: str = "") -> subprocess.CompletedProcess[str] | None:
    """None where the program is not here, or does not answer."""
    program = shutil.which(words[0])
    if program is None:
        return None
    try:
        return subprocess.run(  # noqa: S603 - our own words
            [program, *words[1:]],
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_WITHIN_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _why(done: subprocess.CompletedProcess[str] | None) -> str:
    from clore_ai._values.text import plain

    return "no answer" if done is None else plain(done.stderr.strip()) or f"exit {done.returncode}"
