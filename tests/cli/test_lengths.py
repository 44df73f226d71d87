"""Every option for a length of time takes the same forms, and errors name the option."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import pytest

from clore_ai.cli import cli

if TYPE_CHECKING:
    from .driver import Clore, Renter

SECONDS = {"90s": 90, "30m": 1800, "1h": 3600, "0.5h": 1800, "90": 90, "90.5": 90.5}
EVERY = [
    (("cancel", "1"), "--wait-timeout"),
    (("deploy", "1"), "--wait-timeout"),
    (("deploy", "1"), "--lease"),
    (("deploy", "1"), "--max-hours"),
    (("lease", "set", "1"), "LENGTH"),
    (("lease", "extend", "1"), "LENGTH"),
    (("monitor",), "--every"),
    (("monitor",), "--idle-cancel"),
    (("reap",), "--every"),
    (("rent",), "--boot-timeout"),
    (("rent",), "--lease"),
    (("rent",), "--max-hours"),
    (("run",), "--boot-timeout"),
    (("run",), "--fetch-every"),
    (("run",), "--lease"),
    (("run",), "--lost-after"),
    (("run",), "--max-hours"),
    (("sandbox", "up"), "--boot"),
    (("sandbox", "up"), "--lag"),
    (("spot", "auto", "1", "--max", "1/h"), "--every"),
    (("spot", "auto", "1", "--max", "1/h"), "--for"),
    (("spot", "auto", "1", "--max", "1/h"), "--patience"),
    (("watch",), "--boot-timeout"),
    (("watch",), "--every"),
    (("watch",), "--for"),
    (("watch",), "--lease"),
]
ENDLESS = ("--lease", "--lost-after", "--idle-cancel", "LENGTH")


def named(words: tuple[str, ...], name: str) -> click.Parameter:
    """The parameter of a command that has this option name."""
    command: click.Command = cli
    for word in words:
        if isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            assert found is not None
            command = found
    return next(p for p in command.params if name in p.opts or name == p.metavar)


def read(words: tuple[str, ...], name: str, text: str) -> Any:
    parameter = named(words, name)
    return parameter.type_cast_value(click.Context(click.Command(words[0])), text)


@pytest.mark.parametrize(("words", "name"), EVERY)
def test_all_options_take_the_same_forms(words: tuple[str, ...], name: str) -> None:
    """90s, 30m, 1h; a bare number is seconds, or hours if the option's name says so."""
    alone = 3600 if name == "--max-hours" else 1
    for text, seconds in SECONDS.items():
        assert read(words, name, text) == seconds * (alone if text[-1].isdigit() else 1)
    if name in ENDLESS:
        assert read(words, name, "none") == float("inf")


@pytest.mark.parametrize(("words", "name"), EVERY)
def test_a_bad_length_is_refused_by_option_name(
    new_user: Clore, words: tuple[str, ...], name: str
) -> None:
    """One sentence has the option and the accepted forms; exit 2."""
    given = ["soon"] if name == "LENGTH" else [name, "soon"]
    error = new_user(*words, *given, fails=2).err
    assert f"Invalid value for '{name}'" in error
    assert "'soon' is not a length of time; write 90m, 6h" in error


def test_no_option_takes_bare_seconds_only() -> None:
    """Every option whose help shows SECONDS or a length has the one type for lengths."""
    from clore_ai.cli.options.length import Length
    from tests.docs.write_cli import every_command

    for words in every_command()[1:]:
        command: Any = cli
        for word in words:
            command = command.get_command(click.Context(command), word)
        for parameter in command.params:
            assert parameter.metavar not in ("SECONDS", "TIME"), (words, parameter.name)
            is_length = isinstance(parameter.type, Length)
            assert is_length or parameter.metavar != "LENGTH", (words, parameter.name)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("monitor", "--every", "0.5s"), "'0.5s' is too short; give 1s or more"),
        (("spot", "auto", "1", "--max", "1/h", "--every", "2h"), "give 3600s or less"),
        (("watch", "--every", "none"), "it can't be 'none'; write 90m, 6h or 2d"),
        (("deploy", "1", "--max-hours", "0"), "a number alone is hours"),
        (("lease", "extend", "1", "none"), "clore lease set 1 none"),
    ],
)
def test_a_length_out_of_range(new_user: Clore, words: tuple[str, ...], says: str) -> None:
    """The error gives the accepted range."""
    assert says in new_user(*words, fails=2).err


@pytest.mark.parametrize("command", ["rent", "run"])
@pytest.mark.parametrize("end", [("--lease", "5m"), ("--max-hours", "5m")])
def test_a_boot_timeout_longer_than_the_lease(
    renter: Renter, command: str, end: tuple[str, ...]
) -> None:
    """It is refused before any request: the order could end before its server is up."""
    words = ("--gpu", "RTX 4090", *end, "--boot-timeout", "10m", "--yes")
    error = renter(command, *words, *(("--", "true") if command == "run" else ()), fails=2).err
    assert "--boot-timeout 10m is longer than the lease of 5m" in error
    assert renter.requests("create_order") == []


def test_the_default_boot_timeout_fits_the_lease(renter: Renter) -> None:
    """A short lease alone is valid: the wait for the server is then as short."""
    plan = renter("rent", "--gpu", "RTX 4090", "--lease", "90s", "--dry-run").err
    assert "(90s)" in plan


def test_a_wait_longer_than_the_lease_is_refused(renter: Renter) -> None:
    """Nothing is rented; the default wait is never longer than the lease."""
    words = ("deploy", renter.server(), "--image", "i", "--type", "on-demand", "--currency",
             "bitcoin", "--yes", "--wait")  # fmt: skip
    error = renter(*words, "--lease", "5m", "--wait-timeout", "10m", fails=2).err
    assert "--wait-timeout 10m is longer than the lease of 5m" in error
    assert "a shorter one, or a longer lease" in error
    error = renter(*words, "--max-hours", "0.1", "--wait-timeout", "10m", fails=2).err
    assert "longer than the lease of 6m" in error
    assert not renter.orders()
    assert renter(*words, "--lease", "5m", "--no-keeper").out
