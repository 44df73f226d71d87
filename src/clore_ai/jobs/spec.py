"""What a job is: its command, folder and outputs, checked before a machine is rented for it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from clore_ai import _windows
from clore_ai._ssh.copy.gate import starts_something
from clore_ai.exceptions import InvalidInputError
from clore_ai.jobs import scripts
from clore_ai.jobs.upload import private
from clore_ai.jobs.upload.contents import Consent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Spec:
    """What to run, and with what. `checked` makes one.

    `command`: one word is a line for the shell there; several are quoted. `folder`: the working
    folder. `outputs`: paths below it. `setup`: a line that runs before the command.
    """

    command: list[str]
    folder: Path
    outputs: list[str] = field(default_factory=list[str])
    env: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    setup: str | None = None
    forwards: tuple[str, ...] = ()
    consent: Consent = field(default_factory=Consent)
    """What may be uploaded beyond what is safe."""

    @property
    def line(self) -> str:
        """The line that the shell on the machine runs."""
        return scripts.with_setup(scripts.line_of(self.command), self.setup)

    def record(self) -> dict[str, object]:
        """The fields of the job's `Job`."""
        return {
            "command": self.command,
            "folder": str(self.folder),
            "work": scripts.work_folder(self.folder.name),
            "outputs": self.outputs,
        }


def checked(
    command: Sequence[str],
    folder: Path,
    outputs: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    setup: str | None = None,
    forwards: Sequence[str] = (),
    consent: Consent | None = None,
) -> Spec:
    """The parts of a job, checked before a machine is rented for it.

    Raises:
        InvalidInputError: it can't be run like this; nothing was sent.
        ConfigError: this is Windows.
    """
    _windows.refuse("A job on a machine")
    if not any(word.strip() for word in command):
        raise InvalidInputError("No command was given to run; add one: clore run -- python x.py")
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise InvalidInputError(f"The working folder {folder} does not exist or is not a folder.")
    for name, value in (env or {}).items():
        if not name.isidentifier() or not name.isascii() or "\0" in value:
            raise InvalidInputError(
                f"{name!r} is not a valid variable name, or its value contains a NUL."
            )
    return Spec(
        list(command),
        folder,
        [_output(folder, each) for each in outputs],
        dict(env or {}),
        _setup(folder, setup),
        tuple(_forward(each) for each in forwards),
        consent or Consent(),
    )


def _output(folder: Path, given: str) -> str:
    """Check an output: below the folder, at the same place on both sides, and writable here."""
    path = os.path.normpath(given)
    if Path(path).is_absolute():
        path = os.path.relpath(path, folder)
    if path == os.curdir or Path(path).parts[0] == os.pardir or "\n" in path or not given:
        raise InvalidInputError(
            f"The output {given!r} can't be reached: name a folder inside the working folder "
            f"{folder}, e.g. results; the job writes it there, and it is fetched to here."
        )
    place = folder
    for part in Path(path).parts:
        if private.never(os.fsencode(place.name), os.fsencode(part)):
            raise InvalidInputError(
                f"The output {given!r} can't be written: {part} is private. Name another."
            )
        place /= part
        if place.is_symlink():
            raise InvalidInputError(
                f"The output {given!r} can't be written: {place} is a link, and nothing that comes "
                "from a machine is written through one. Name the folder itself, or another."
            )
    acted_on = [part for part in Path(path).parts if starts_something(os.fsencode(part))]
    if acted_on:
        raise InvalidInputError(
            f"The output {given!r} can't be written: programs here act on files named "
            f"{acted_on[0]}, and the fetched files come from a stranger. Name another."
        )
    while not place.exists():
        place = place.parent
    inner = place != folder / path
    if inner and not place.is_dir():
        raise InvalidInputError(f"The output {given!r} can't be written: {place} is not a folder.")
    if not os.access(place, os.W_OK):
        raise InvalidInputError(
            f"The output {given!r} can't be written: you have no access to {place}."
        )
    return path


def _setup(folder: Path, given: str | None) -> str | None:
    """The setup line; for a file of requirements, the line that installs it."""
    if given is None or not given.endswith(".txt") or len(given.split()) != 1:
        return given
    if not (folder / given).is_file():
        raise InvalidInputError(f"--setup {given}: there is no such file in {folder}.")
    return f"python3 -m pip install -q -r {scripts.quoted(given)}"


def _forward(given: str) -> str:
    """``6006`` or ``8080:6006`` (here:there) as ssh's ``-L`` has it; the port here is free."""
    here, _, there = given.partition(":")
    ports = [here, there or here]
    if not all(port.isdigit() and 0 < int(port) < 1 << 16 for port in ports):
        raise InvalidInputError(
            f"--forward {given!r}: write PORT, or PORT_HERE:PORT_THERE, e.g. 6006."
        )
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", int(ports[0])))
    except OSError as exc:
        another = int(ports[0]) + (-1 if ports[0] == "65535" else 1)
        raise InvalidInputError(
            f"--forward {ports[0]}: this port can't be used here ({exc.strerror}); choose another "
            f"local port: --forward {another}:{ports[1]}."
        ) from exc
    return f"127.0.0.1:{ports[0]}:127.0.0.1:{ports[1]}"
