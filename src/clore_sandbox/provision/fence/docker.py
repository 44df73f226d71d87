"""Rooms as containers of the order's own image, by a Docker engine on this machine.

Promises: any Linux image with `sh` works, without sshd, Python or another shell: the marketplace
serves SSH, and starts processes through the room's first process, which runs on the kit. The
image's ENTRYPOINT and CMD run as Docker would run them, as root. A container's only network is a
loopback that leads to the public ports of this marketplace's orders, unless
`CLORE_SANDBOX_DOCKER_NETWORK` names another. It is removed with its order; if the marketplace is
killed it ends by itself, and the next run with the same state removes what is left.

If the engine has NVIDIA's runtime, an order gets as many of the machine's GPUs as its server has
(or all, if there are fewer), those with the fewest orders first, and the real nvidia-smi. Otherwise
it gets none, and a simulated `nvidia-smi` shows the GPUs of its server.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import docker
import docker.errors
import docker.types
import requests

from clore_sandbox.provision import nvidia_smi
from clore_sandbox.provision.fence.fenced import Fenced
from clore_sandbox.provision.fence.host_gpus import HostGpus
from clore_sandbox.provision.fence.interior import CannotIsolate, Shell
from clore_sandbox.provision.fence.kit import AT, RUN, TOOLS, Kit, make_kit
from clore_sandbox.provision.fence.process import environment, run_detached
from clore_sandbox.provision.sweep import MARKER
from clore_sandbox.values.json_types import as_list, as_object, as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from docker.models.containers import Container

    from clore_sandbox.provision import RoomPlan
    from clore_sandbox.provision.fence.interior import Interior

__all__ = ["DockerBuilder"]

T = TypeVar("T")

NETWORK_VARIABLE = "CLORE_SANDBOX_DOCKER_NETWORK"
LABEL = "clore-sandbox"
_THREADS = 16
_ENGINE_TIMEOUT_S = 60
_COME_UP_S = 20.0
_CHECK_EVERY_S = 0.25
_REMOVED_WITHIN_S = 30.0
_SOCKET = "room"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CONFLICT = 409


class DockerBuilder:
    """`folder` holds the files of the rooms; `state` identifies this marketplace."""

    def __init__(self, folder: Path, *, state: str) -> None:
        self._folder = folder
        self._state = state
        self._network = os.environ.get(NETWORK_VARIABLE) or "none"
        # One client per thread: a shared client hung.
        self._clients = threading.local()
        self._all_clients: list[docker.DockerClient] = []
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="clore-sandbox-docker")
        self._images: dict[str, _Image] = {}
        self._devices: HostGpus | None = None
        self._kit: Kit | None = None

    async def open(self, left: Mapping[int, Path]) -> None:  # noqa: ARG002 - containers have labels
        """Find the engine, remove what an earlier run left, make the kit."""
        try:
            has_nvidia = await self._do(self._has_nvidia)
        except OSError as exc:
            raise CannotIsolate(
                f"the docker provisioner needs a Docker engine on this machine ({exc.strerror}):"
                " install and start one (Debian and Ubuntu: apt-get install docker.io), or name"
                " its socket with DOCKER_HOST"
            ) from exc
        if has_nvidia:
            self._devices = await asyncio.to_thread(HostGpus.of_this_machine)
        await self._do(self._remove_left)
        self._kit = await asyncio.to_thread(make_kit, self._folder / "kit")

    def _client(self) -> docker.DockerClient:
        client: docker.DockerClient | None = getattr(self._clients, "client", None)
        if client is None:
            client = self._clients.client = docker.from_env(timeout=_ENGINE_TIMEOUT_S)
            self._all_clients.append(client)
        return client

    async def _do(self, work: Callable[[], T]) -> T:
        """Run work in a thread that may use `_client`; the engine's failures become OSErrors."""

        def run() -> T:
            try:
                return work()
            except docker.errors.APIError as exc:
                raise OSError(errno.EIO, str(exc.explanation or exc)) from exc
            except (docker.errors.DockerException, requests.RequestException) as exc:
                raise OSError(errno.EIO, str(exc)) from exc

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    def _has_nvidia(self) -> bool:
        """Check the engine; whether it has NVIDIA's runtime."""
        client = self._client()
        info = as_object(client.info()) or {}
        if not client.api.base_url.startswith("http+docker"):
            raise CannotIsolate(
                "the docker provisioner shares files with its rooms, so it needs an engine on this"
                " machine: DOCKER_HOST must name a unix socket"
            )
        if info.get("OSType") != "linux" or os.uname().sysname != "Linux":
            raise CannotIsolate("the docker provisioner needs Linux, and an engine on this machine")
        return "nvidia" in (as_object(info.get("Runtimes")) or {})

    def _remove_left(self) -> None:
        mine: dict[str, str | list[str] | bool] = {"label": f"{LABEL}={self._state}"}
        for container in self._client().containers.list(all=True, filters=mine):
            _remove(container)

    async def prepare(self, plan: RoomPlan) -> None:
        """Pull the image if the machine does not have it."""

        def find() -> _Image:
            images = self._client().images
            try:
                found = images.get(plan.image)
            except docker.errors.ImageNotFound:
                found = images.pull(plan.image)
            return _Image.of(as_object(found.attrs.get("Config")) or {})

        try:
            self._images[plan.image] = await self._do(find)
        except OSError as exc:
            raise OSError(errno.ENOENT, f"no image {plan.image}: {exc.strerror}") from exc

    async def build(self, plan: RoomPlan, folder: Path) -> Interior:
        """Start a container, and wait for its first process."""
        kit, image = self._kit, self._images[plan.image]
        assert kit is not None  # noqa: S101 - made when this opened
        path = f"{TOOLS}:{image.env.get('PATH', _PATH)}"
        gpus = () if self._devices is None else self._devices.take(plan.order, plan.gpus)
        await asyncio.to_thread(_furnish, plan, folder, kit, path, simulate=self._devices is None)
        container: Container | None = None
        control: socket.socket | None = None

        async def end() -> None:
            if container is not None:
                await self._do(partial(_remove, container))
            if self._devices is not None:
                self._devices.give_back(plan.order)

        with _listener(folder / "run") as listener:
            try:
                container = await self._do(lambda: self._start(plan, folder, kit, gpus))
                control = await self._accept(listener, container)
            except BaseException:
                await end()
                raise
        room = Fenced(control, end)
        try:
            found = await room.found(_COME_UP_S)
        except BaseException:
            await room.end()
            raise
        shell = "/bin/bash" if "/bin/bash" in found.programs else "/bin/sh"
        env = environment(plan, home=found.home, shell=shell, path=path, image=image.env)
        env[MARKER] = f"{self._state}:{plan.order}"
        room.shell = Shell(env, found.home, kit.files(found.programs))
        return room

    def _start(self, plan: RoomPlan, folder: Path, kit: Kit, gpus: tuple[str, ...]) -> Container:
        binds = {kit.folder: AT, folder / "bin": TOOLS, folder / "run": RUN}
        binds[folder / "profile.sh"] = "/etc/profile.d/zz-clore-sandbox.sh"
        request = docker.types.DeviceRequest(
            device_ids=list(gpus), capabilities=[["gpu", "compute", "utility"]]
        )
        container = self._client().containers.create(
            plan.image,
            name=f"clore-sandbox-{self._state[:12]}-{plan.order}",
            entrypoint=kit.first(f"{RUN}/{_SOCKET}"),
            command=[],
            environment=dict(kit.env),
            user="0:0",
            working_dir="/",
            hostname=f"clore-{plan.order}",
            network_mode=self._network,
            labels={LABEL: self._state, f"{LABEL}.order": str(plan.order)},
            mounts=[
                docker.types.Mount(inside, str(outside), type="bind", read_only=True)
                for outside, inside in binds.items()
            ],
            device_requests=[request] if gpus else [],
            cap_drop=["MKNOD"],
            security_opt=["label=disable"],
            auto_remove=True,
        )
        try:
            container.start()
        except BaseException:
            _remove(container)
            raise
        return container

    async def _accept(self, listener: socket.socket, container: Container) -> socket.socket:
        """The connection of the room's first process, which is the first to connect."""
        loop = asyncio.get_running_loop()
        accepted = asyncio.ensure_future(loop.sock_accept(listener))
        try:
            for _ in range(round(_COME_UP_S / _CHECK_EVERY_S)):
                done, _ = await asyncio.wait({accepted}, timeout=_CHECK_EVERY_S)
                if done:
                    return accepted.result()[0]
                await self._do(container.reload)  # fails if it has ended
        finally:
            accepted.cancel()
        raise OSError(errno.ETIMEDOUT, "the container did not come up")

    async def run_command(self, interior: Interior, plan: RoomPlan, log: int) -> None:
        """The image's own process, and the order's start-up command."""
        image = self._images[plan.image]
        if image.argv:
            try:
                await run_detached(interior, image.argv, log, folder=image.folder)
            except OSError as exc:
                os.write(log, f"{image.argv[0]}: {exc.strerror}\n".encode())
        if plan.command:
            await run_detached(interior, interior.shell.argv(plan.command), log)

    async def close(self) -> None:
        """Remove the containers, and disconnect from the engine."""
        if self._kit is not None:
            await self._do(self._remove_left)
        # An abandoned pull may still run: its thread ends with it.
        self._pool.shutdown(wait=False)
        for client in self._all_clients:
            client.close()


class _Image:
    """An image's settings for its containers."""

    def __init__(self, env: Mapping[str, str], argv: list[str], folder: str) -> None:
        self.env = env
        self.argv = argv
        self.folder = folder

    @classmethod
    def of(cls, config: Mapping[str, object]) -> _Image:
        """Read the engine's `Config`."""
        pairs = [as_text(pair) or "" for pair in as_list(config.get("Env")) or []]
        words = [*(as_list(config.get("Entrypoint")) or []), *(as_list(config.get("Cmd")) or [])]
        return cls(
            dict(pair.split("=", 1) for pair in pairs if "=" in pair),
            [as_text(word) or "" for word in words],
            as_text(config.get("WorkingDir")) or "/",
        )


def _remove(container: Container) -> None:
    """Kill and remove a container, even if the engine is already removing it."""
    try:
        container.remove(force=True, v=True)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as exc:
        if exc.status_code != _CONFLICT:
            raise
        with contextlib.suppress(docker.errors.NotFound):
            container.wait(condition="removed", timeout=_REMOVED_WITHIN_S)


@contextlib.contextmanager
def _listener(folder: Path) -> Generator[socket.socket, None, None]:
    """A listening socket in a folder, whose path may be longer than a socket's address."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        (folder / _SOCKET).unlink(missing_ok=True)
        listener.bind(f"/proc/self/fd/{descriptor}/{_SOCKET}")
        (folder / _SOCKET).chmod(0o666)  # the engine may map users; the folder above is private
        listener.listen(1)
        listener.setblocking(False)
        yield listener
    finally:
        os.close(descriptor)
        listener.close()
        (folder / _SOCKET).unlink(missing_ok=True)


def _furnish(plan: RoomPlan, folder: Path, kit: Kit, path: str, *, simulate: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("bin", "run"):
        (folder / name).mkdir(exist_ok=True)
    if simulate:
        nvidia_smi.install(folder / "bin", plan.gpus, python=kit.python, env=kit.env, seen_at=TOOLS)
    # A login shell reads /etc/profile, where Debian resets PATH.
    (folder / "profile.sh").write_text(f"PATH='{path}'\nexport PATH\n", encoding="utf-8")
