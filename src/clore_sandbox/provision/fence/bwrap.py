"""Rooms in their own namespaces, by bubblewrap.

Promises: an order has its own pid, net, mount, uts, ipc, cgroup and user namespaces. It sees the
machine's programs read-only and its home folder, but no other process, file or port. Its network is
a loopback that leads only to the public ports of this marketplace's orders. Its root is not the
machine's: if root runs the marketplace, each order has its own user id, which owns nothing; if a
user runs it, it is that user. Its only capability is to bind low ports; it can create no user
namespace, and gains no privileges by executing a file.

Dropping root's capabilities would not be enough: such a room could still write files of root, such
as `/proc/sys/kernel/core_pattern`, which bubblewrap 0.8 leaves writable.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from clore_sandbox.provision import nvidia_smi
from clore_sandbox.provision.child_process import Child
from clore_sandbox.provision.fence.fenced import Fenced, packet_pair
from clore_sandbox.provision.fence.interior import CannotIsolate, Shell
from clore_sandbox.provision.fence.kit import AT, TOOLS, Kit, make_kit
from clore_sandbox.provision.fence.process import environment, run_detached, write_profile
from clore_sandbox.provision.sweep import MARKER, end_processes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.provision import RoomPlan
    from clore_sandbox.provision.fence.interior import Interior

__all__ = ["BwrapBuilder"]

_HOME = "/root"
_PATH = f"{TOOLS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FIRST_USER = 1_900_000_000
"""Above the user ids that systemd gives to containers; an order's number is added."""
_USERS = 100_000_000
_COME_UP_S = 10.0

_NAMESPACES = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
    *("--unshare-cgroup-try", "--uid", "0", "--gid", "0", "--die-with-parent", "--as-pid-1"),
)
_CAPABILITIES = (
    *("--cap-drop", "ALL", "--cap-add", "CAP_NET_BIND_SERVICE"),
    *("--cap-add", "CAP_SYS_RESOURCE", "--cap-add", "CAP_SETPCAP"),
)
"""Only `_ENTER` uses the last two."""
_ENTER = (
    "echo 0 > /proc/sys/user/max_user_namespaces || exit;"
    ' exec setpriv --inh-caps=-all --bounding-set=-all,+net_bind_service -- "$@"'
)
"""With bubblewrap's own --disable-userns, CAP_NET_BIND_SERVICE would not apply to the network."""
_ETC = (
    *("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone"),
    *("ssl", "pki", "ca-certificates", "crypto-policies", "mime.types", "protocols", "services"),
    *("profile", "profile.d", "bash.bashrc", "bashrc", "inputrc", "terminfo", "os-release"),
    *("debian_version", "fonts", "magic", "manpath.config", "python3", "perl", "R"),
)
"""The files of /etc that programs need. Others may be secrets that this user can read."""
_ROOTS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class BwrapBuilder:
    """`folder` holds the rooms; `state` identifies this marketplace."""

    def __init__(self, folder: Path, *, state: str) -> None:
        self._folder = folder
        self._state = state
        self._kit: Kit | None = None

    async def open(self, left: Mapping[int, Path]) -> None:
        """Find bubblewrap, check that it works here, and make the kit."""
        self._bwrap = _required("bwrap", "bubblewrap")
        _required("setpriv", "util-linux")
        if left:
            # Rooms end with their marketplace; this is for one that did not.
            marks = {self._marker(order): folder for order, folder in left.items()}
            await asyncio.to_thread(end_processes, marks)
        if os.geteuid() == 0:
            # Rooms run as other users, who must reach their own folders.
            self._folder.chmod(0o711)
        await asyncio.to_thread(self._try)
        self._kit = await asyncio.to_thread(make_kit, self._folder / "kit")

    def _try(self) -> None:
        argv = [self._bwrap, *_NAMESPACES, *_CAPABILITIES, *_system(), "--", "/bin/sh", "-c"]
        user = _user(0)
        tried = subprocess.run(  # noqa: S603 - our own words
            [*argv, _ENTER, "sh", "true"],
            capture_output=True,
            text=True,
            check=False,
            user=user,
            group=user,
            extra_groups=None if user is None else (),
        )
        if tried.returncode != 0:
            raise CannotIsolate(
                "the bwrap provisioner needs user namespaces, which this machine does not allow"
                f" ({tried.stderr.strip()}); see sysctl user.max_user_namespaces,"
                " kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
            )

    def _marker(self, order: int) -> str:
        return f"{self._state}:{order}"

    async def prepare(self, plan: RoomPlan) -> None:
        """Nothing to prepare."""

    async def build(self, plan: RoomPlan, folder: Path) -> Interior:
        """Start the room's first process, and wait for its first message."""
        kit = self._kit
        assert kit is not None  # noqa: S101 - made when this opened
        await asyncio.to_thread(_furnish, plan, folder, kit)
        ours, theirs = packet_pair()
        info, info_writer = os.pipe()
        with contextlib.ExitStack() as stack:
            for descriptor in (info, info_writer):
                stack.callback(os.close, descriptor)
            log = stack.enter_context((folder / "room.log").open("w+b"))
            with theirs:
                argv = [self._bwrap, *_NAMESPACES, *_CAPABILITIES, *_system(), *_own(folder, kit)]
                argv += ["--hostname", f"clore-{plan.order}", "--info-fd", str(info_writer), "--"]
                argv += ["/bin/sh", "-c", _ENTER, "sh", *kit.first(str(theirs.fileno()))]
                child = Child(
                    argv,
                    env={"PATH": _PATH, MARKER: self._marker(plan.order), **kit.env},
                    cwd="/",
                    stderr=log.fileno(),
                    pass_fds=(info_writer, theirs.fileno()),
                    user=_user(plan.order),
                )
            process = _Namespace(child)
            room = Fenced(ours, process.end)
            try:
                found = await room.found(_COME_UP_S)
                process.first = _first_process(os.read(info, 4096))
            except BaseException as exc:
                await room.end()
                log.seek(0)
                output = log.read().decode(errors="replace").strip()
                if isinstance(exc, OSError) and output:
                    raise OSError(exc.errno, output) from exc
                raise
        shell = "/bin/bash" if "/bin/bash" in found.programs else "/bin/sh"
        env = environment(plan, home=_HOME, shell=shell, path=_PATH)
        env[MARKER] = self._marker(plan.order)
        room.shell = Shell(env, _HOME, kit.files(found.programs))
        return room

    async def run_command(self, interior: Interior, plan: RoomPlan, log: int) -> None:
        """The order's start-up command."""
        if plan.command:
            await run_detached(interior, interior.shell.argv(plan.command), log)

    async def close(self) -> None:
        """Remove the kit, and the folder if it is empty."""
        if self._kit is not None:
            await asyncio.to_thread(shutil.rmtree, self._kit.folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self._folder.rmdir()


class _Namespace:
    """bubblewrap, which waits outside, and the room's first process, its child."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.first: int | None = None

    async def end(self) -> None:
        """Kill the first process: the kernel then kills all others before bubblewrap exits.

        After killing bubblewrap, or the others first, some could still run when this returns.
        """
        if self.first is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.first, signal.SIGKILL)
        elif not self._child.exited.done():
            self._child.signal_group("KILL")
        await self._child.exited
        if self.first is not None:
            os.close(self.first)
            self.first = None


def _first_process(info: bytes) -> int:
    """A descriptor of the process that bubblewrap reports, which never refers to another."""
    return os.pidfd_open(json.loads(info)["child-pid"])


def _user(order: int) -> int | None:
    """The user id of an order's processes; None: the user who runs the marketplace."""
    return None if os.geteuid() else _FIRST_USER + order % _USERS


def _required(program: str, package: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise CannotIsolate(
            f"the bwrap provisioner needs {program}: install {package}"
            f" (Debian and Ubuntu: apt-get install {package})"
        )
    return path


def _system() -> list[str]:
    """The machine's programs, read-only, and empty folders for the rest."""
    words = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--dir", "/etc"]
    for name in _ROOTS:
        path = Path("/", name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    for name in _ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for empty in ("/tmp", "/var/tmp", "/run"):  # noqa: S108 - the room's own
        words += ["--perms", "1777", "--tmpfs", empty]
    return [*words, "--chdir", "/"]


def _own(folder: Path, kit: Kit) -> list[str]:
    """The order's own files."""
    words = ["--bind", str(folder / "home"), _HOME, "--ro-bind", str(kit.folder), AT]
    words += ["--ro-bind", str(folder / "bin"), TOOLS]
    for file in (folder / "etc").iterdir():
        words += ["--ro-bind", str(file), f"/etc/{file.name}"]
    return words


def _furnish(plan: RoomPlan, folder: Path, kit: Kit) -> None:
    home, tools, etc = folder / "home", folder / "bin", folder / "etc"
    folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    for each in (home, tools, etc):
        each.mkdir(exist_ok=True)
    nvidia_smi.install(tools, plan.gpus, python=kit.python, env=kit.env, seen_at=TOOLS)
    write_profile(home, plan, _PATH)
    for name, text in _files(plan.order).items():
        (etc / name).write_text(text, encoding="utf-8")
    user = _user(plan.order)
    if user is not None:
        for each in (home, home / ".profile"):
            os.chown(each, user, user)
    home.chmod(0o700)


def _files(order: int) -> dict[str, str]:
    return {
        "passwd": "root:x:0:0:root:/root:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        "group": "root:x:0:\nnogroup:x:65534:\n",
        "hosts": f"127.0.0.1 localhost clore-{order}\n::1 localhost\n",
        "hostname": f"clore-{order}\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
