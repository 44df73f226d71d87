"""The setting of every figure: both environments, the fleet, a home, marketplaces."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clore_sandbox import Sandbox
from clore_sandbox.fleet.sample import sample_fleet

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from bench.environment import Place, Places

FLEET_OF_TARGETS = 3_500
MOST_LONG_RUNS = 5
_STAT = Path("/proc/stat")
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR")


class Setting:
    """A temporary home, the inventory, and processes without any other configuration."""

    def __init__(self, places: Places, *, runs: int, quick: bool) -> None:
        self.places = places
        self.runs = runs
        self.long_runs = min(runs, MOST_LONG_RUNS)
        """For what waits at the service's pace, or takes seconds each time."""
        self.quick = quick
        captured = os.environ.get("CLORE_INVENTORY")
        self.captured = Path(captured) if captured else None
        self.busy = None if quick else _busy()

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="clore-bench-")
        self.folder = Path(self._folder.name)
        self.inventory = self.captured or self.folder / "sample.json"
        if self.captured is None:
            self.inventory.write_text(json.dumps({"servers": sample_fleet(0)}), "utf-8")
        self.body = self.folder / "marketplace.json"
        self.body.write_bytes(self._body())
        self.servers = len(json.loads(self.body.read_bytes())["servers"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def _body(self) -> bytes:
        """The `marketplace` body as the local marketplace serves it."""
        import httpx

        with self.sandbox(limits=False, provision=False) as sandbox:
            return httpx.get(f"{sandbox.base_url}/marketplace").raise_for_status().content

    def sandbox(self, **options: Any) -> Sandbox:  # noqa: ANN401 - Sandbox's own
        """A marketplace with the inventory; without machines unless `provision` is given."""
        return Sandbox(**{"inventory": self.inventory, "provision": False, **options})

    def environ(self, sandbox: Sandbox | None = None, **more: str) -> dict[str, str]:
        """A minimal environment; with a marketplace, it holds the address and key."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        home = str(self.folder / "home")
        kept |= {"HOME": home, "CLORE_HOME": f"{home}/.clore", "NO_COLOR": "1", **more}
        if sandbox is not None:
            kept |= {"CLORE_BASE_URL": sandbox.base_url, "CLORE_API_KEY": sandbox.api_key}
        return kept

    def ask(self, place: Place, worker: str, sandbox: Sandbox, *arguments: object) -> Any:  # noqa: ANN401 - JSON
        """The output of a script of `bench/workers`, run by that environment's interpreter.

        Raises:
            RuntimeError: the script failed; carries its last line.
        """
        script = Path(__file__).with_name("workers") / f"{worker}.py"
        done = subprocess.run(
            [str(place.python), str(script), *map(str, arguments)],
            env=self.environ(sandbox),
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{worker}: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout)

    def each(self) -> list[Place]:
        """Ours, then theirs if there is one."""
        return [place for place in (self.places.ours, self.places.theirs) if place]


def _busy() -> float | None:
    """The share of this machine's cores in use by others, over half a second; Linux only."""
    if not _STAT.exists():
        return None
    before, start = _idle_s(), time.monotonic()
    time.sleep(0.5)
    cores = os.cpu_count() or 1
    return max(0.0, 1 - (_idle_s() - before) / (time.monotonic() - start) / cores)


def _idle_s() -> float:
    """The idle seconds of all cores so far."""
    idle, waiting = map(int, _STAT.read_text().split("\n", 1)[0].split()[4:6])
    return (idle + waiting) / os.sysconf("SC_CLK_TCK")
