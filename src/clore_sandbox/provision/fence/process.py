"""The default kind of room: a home folder, and processes with the order's marker; not isolated.

It needs nothing but pip, and runs as the user who runs the marketplace: it imitates a rented
machine, but does not isolate it. Rooms share the machine's ports, so two cannot both bind 8888.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from clore_sandbox.provision import nvidia_smi
from clore_sandbox.provision.child_process import Child, resize
from clore_sandbox.provision.fence.interior import USER, Shell, Terminal
from clore_sandbox.provision.sockets import dial, listen, make_local
from clore_sandbox.provision.sweep import MARKER, end_processes

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from clore_sandbox.provision import RoomPlan
    from clore_sandbox.provision.fence.interior import Interior, Size

__all__ = ["ProcessBuilder", "environment", "run_detached", "write_profile"]

_PASSED_ON = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Only these variables of the marketplace's environment reach a room: keys must not."""
_SWEPT_WITHIN_S = 0.2
"""By then the exit of a killed process is usually reported."""


class _LocalInterior:
    """A room that is the machine itself."""

    def __init__(self, builder: ProcessBuilder, shell: Shell, marker: str, folder: Path) -> None:
        self.shell = shell
        self._builder = builder
        self._marker = marker
        self._folder = folder
        self._children: set[Child] = set()

    async def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdio: tuple[int, int, int],
        *,
        folder: str | None = None,
    ) -> Child:
        """Start a child process."""
        stdin, stdout, stderr = stdio
        cwd = folder or self.shell.home
        child = Child(argv, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr)
        self._children.add(child)
        child.exited.add_done_callback(lambda _: self._children.discard(child))
        return child

    async def start_on_terminal(
        self, argv: Sequence[str], env: Mapping[str, str], size: Size
    ) -> Terminal:
        """Start a process on a new terminal."""
        master, slave = os.openpty()
        try:
            tty = os.ttyname(slave)
            resize(slave, *size)
            os.set_blocking(master, False)
            # The session's leader opens the terminal by name, which makes it the controlling one. A
            # preexec function would not be safe in a process with threads.
            attach = ["/bin/sh", "-c", 'exec "$@" <>"$0" >&0 2>&0', tty]
            null = os.open(os.devnull, os.O_RDWR)
            try:
                words, given = [*attach, *argv], {**env, "SSH_TTY": tty}
                child = await self.start(words, given, (null, null, null))
            finally:
                os.close(null)
        except BaseException:
            os.close(master)
            os.close(slave)
            raise
        return Terminal(master, child, slave)

    async def dial(self, host: str, port: int) -> socket.socket:
        """Connect from the machine."""
        return await dial(make_local, host, port)

    async def listen(self, host: str, port: int) -> list[socket.socket]:
        """Bind on the machine."""
        return await listen(make_local, host, port)

    def lead_out(self, public_ports: frozenset[int]) -> None:
        """A public port already means the same inside and outside."""

    async def end(self) -> None:
        """End every process with the marker."""
        await self._builder.sweep(self._marker, self._folder)
        while self._children:
            waiting = [child.exited for child in self._children]
            _, running = await asyncio.wait(waiting, timeout=_SWEPT_WITHIN_S)
            if running:
                # During an exec, a process shows no environment, so the sweep missed it.
                await self._builder.sweep(self._marker, self._folder)


class ProcessBuilder:
    """`state` identifies this marketplace in the marker of its rooms' processes."""

    def __init__(self, *, state: str) -> None:
        self._state = state
        self._sweeping: dict[str, Path] = {}
        self._sweep: asyncio.Task[None] | None = None

    def _marker(self, order: int) -> str:
        return f"{self._state}:{order}"

    async def open(self, left: Mapping[int, Path]) -> None:
        """End the processes of rooms that a killed marketplace left behind."""
        if left:
            markers = {self._marker(order): folder for order, folder in left.items()}
            await asyncio.to_thread(end_processes, markers)

    async def prepare(self, plan: RoomPlan) -> None:
        """Nothing to prepare."""

    async def build(self, plan: RoomPlan, folder: Path) -> Interior:
        """Create the home folder and its tools."""
        marker = self._marker(plan.order)
        shell = await asyncio.to_thread(_furnish, plan, folder, marker)
        return _LocalInterior(self, shell, marker, folder)

    async def run_command(self, interior: Interior, plan: RoomPlan, log: int) -> None:
        """The order's start-up command."""
        if plan.command:
            await run_detached(interior, interior.shell.argv(plan.command), log)

    async def close(self) -> None:
        """Rooms share nothing that needs closing."""

    async def sweep(self, marker: str, folder: Path) -> None:
        """End a room's processes; rooms that end at the same time share one scan of /proc."""
        self._sweeping[marker] = folder
        if self._sweep is None:
            self._sweep = asyncio.ensure_future(self._sweep_all())
        await asyncio.shield(self._sweep)

    async def _sweep_all(self) -> None:
        # Requests during this pause join this sweep; later ones start the next.
        await asyncio.sleep(0.005)
        rooms, self._sweeping, self._sweep = self._sweeping, {}, None
        await asyncio.to_thread(end_processes, rooms)


async def run_detached(
    interior: Interior, argv: Sequence[str], log: int, *, folder: str | None = None
) -> None:
    """Start a process without waiting for it, with its output to `log`."""
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        await interior.start(argv, interior.shell.env, (null, log, log), folder=folder)
    finally:
        os.close(null)


def environment(
    plan: RoomPlan,
    *,
    home: str,
    shell: str,
    path: str,
    image: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The environment of a room's sessions; `image` is that of the order's image, if it has one."""
    env = dict(image or {})
    if image is None:
        env |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env |= {"HOME": home, "USER": USER, "LOGNAME": USER, "SHELL": shell, "PATH": path}
    return {**env, **plan.env}


def write_profile(home: Path, plan: RoomPlan, path: str) -> None:
    """Write `.profile`, which a login shell reads after /etc/profile, where Debian resets PATH."""
    profile = home / ".profile"
    if not profile.exists():
        profile.write_text(
            f"PATH='{path}'\nexport PATH\nPS1='root@clore-{plan.order}:\\w# '\n", encoding="utf-8"
        )


def _furnish(plan: RoomPlan, folder: Path, marker: str) -> Shell:
    home, tools = folder / "home", folder / "bin"
    for each in (home, tools):
        each.mkdir(parents=True, exist_ok=True, mode=0o700)
    nvidia_smi.install(tools, plan.gpus, marker=f"{MARKER}={marker}")
    shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
    path = f"{tools}:{os.environ.get('PATH', os.defpath)}"
    write_profile(home, plan, path)
    env = environment(plan, home=str(home), shell=shell, path=path)
    return Shell({**env, MARKER: marker}, str(home))
