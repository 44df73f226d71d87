"""A marketplace of machines that an attacker owns, and the folder of a user who rents one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

import pytest
from clients import Api, Renting

from hostile import Machine, Market, tools
from tests.cli.conftest import renter, take, terminal  # noqa: F401 - fixtures
from tests.cli.driver import FLEET

from .stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clore_sandbox import Sandbox
    from tests.cli.driver import Renter


@pytest.fixture(scope="session")
def market() -> Iterator[Sandbox]:
    """Its orders lead to the machine named by their image."""
    with Market(inventory=FLEET, limits=False, visibility_lag_s=0.05, boot_s=0.05) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a machine without rsync and tmux."""
    return tools(tmp_path_factory.mktemp("bare") / "bin", "rsync", "tmux")


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a machine without tmux, whose server would outlive the test."""
    return tools(tmp_path_factory.mktemp("full") / "bin", "tmux")


@pytest.fixture
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Machine]]:
    """Makes machines: `build(programs, home="home", **env)`."""
    made: list[Machine] = []

    def make(path: Path, **more: str) -> Machine:
        made.append(Machine(tmp_path_factory.mktemp("machine"), path, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def machine(build: Callable[..., Machine], bare: Path) -> Machine:
    """A machine without rsync."""
    return build(bare)


@pytest.fixture(params=["tar", pytest.param("rsync", marks=pytest.mark.exhaustive)])
def either(
    request: pytest.FixtureRequest, build: Callable[..., Machine], bare: Path, full: Path
) -> Machine:
    """A machine with rsync, and one without."""
    return build(full if request.param == "rsync" else bare)


@pytest.fixture
def order(renter: Renter, machine: Machine) -> int:  # noqa: F811 - the fixture
    """An order that leads to `machine`."""
    number = renter.rent("--image", machine.image)
    machine.lines.clear()
    machine.offered.clear()
    return number


@pytest.fixture
def stage(renter: Renter, tmp_path: Path) -> Stage:  # noqa: F811 - the fixture
    """The user's folders in their first state."""
    made = Stage(renter, tmp_path)
    made.reset()
    return made


@pytest.fixture
def kind() -> str:
    """The client of the SDK that is written by hand; the command line uses the other."""
    return "async"


@pytest.fixture
def rental(kind: str, stage: Stage, machine: Machine, market: Sandbox) -> Iterator[Renting]:
    """A rental of `machine` made with the SDK."""
    api = Api(kind, market, state=stage.renter.home)
    try:
        with api.renting(image=machine.image, verify="ssh", attempts=1) as rented:
            yield rented
    finally:
        api.shut()
