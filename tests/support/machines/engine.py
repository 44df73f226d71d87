"""A Docker engine for the tests only, and images made of this machine's files.

No registry is used: the image with the tools holds this machine's bash, coreutils, Python, rsync
and their libraries, with a Debian-like /etc/profile; the other holds one static busybox only.
"""

import contextlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
import time
from pathlib import Path

from tests.support.running.shared import shared

#: The image that tests rent; none of this name could be pulled here.
IMAGE = "cloreai/ubuntu22.04-cuda12"
BARE = "bare/busybox"

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOOLS = (
    *("bash", "sh", "env", "cat", "cp", "chmod", "date", "dmesg", "echo", "false", "find", "grep"),
    *("head", "hostname", "id", "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "nohup"),
    *("nsenter", "ps", "pwd", "python3", "rm", "rsync", "scp", "sed", "seq", "setsid"),
    *("sha256sum", "sleep", "stty", "tail", "touch", "tr", "true", "tty", "umount", "uname"),
    *("unshare", "chroot", "wc", "which"),
)
_PROFILE = f"""PATH="{_PATH}"
export PATH
for each in /etc/profile.d/*.sh; do [ -r "$each" ] && . "$each"; done
"""
_BIG = {"test", "idlelib", "lib2to3", "ensurepip", "tkinter", "dist-packages", "site-packages"}
_STARTS_WITHIN_S = 30


class Unavailable(RuntimeError):  # noqa: N818 - a state, and the message says why
    """No engine can run here; the message says why."""


@contextlib.contextmanager
def engine():
    """An engine with both images, shared by the processes of a test run: the last one stops it.

    Yields the value for DOCKER_HOST.
    """
    given = os.environ.get("CLORE_TEST_DOCKER_HOST")
    if given:
        _load_images(given)
        yield given
        return
    if shutil.which("dockerd", path=_PATH) is None:
        raise Unavailable("no dockerd here (Debian: docker.io)")
    if os.geteuid() != 0:
        raise Unavailable("only root can start a Docker engine of its own here")
    with shared("engine", _start, _stop) as folder:
        yield _host(folder)


def _host(folder):
    return f"unix://{folder}/sock"


def _start(folder):
    host = _host(folder)
    words = [
        shutil.which("dockerd", path=_PATH),
        "--host",
        host,
        "--data-root",
        folder / "data",
        "--exec-root",
    ]
    words += [folder / "exec", "--pidfile", folder / "pid", "--bridge=none"]
    words += ["--iptables=false", "--ip6tables=false"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            words, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "PATH": _PATH}
        )
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while not _answers(host):
        if process.poll() is not None or time.monotonic() > deadline:
            said = (folder / "log").read_text().strip().splitlines()
            with contextlib.suppress(FileNotFoundError):
                _stop(folder)
            raise Unavailable(f"dockerd does not start: {said[-1] if said else 'it says nothing'}")
        time.sleep(0.05)
    process.returncode = 0  # the last process that uses it stops it: nothing to warn of here
    _load_images(host)


def _answers(host):
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(host.removeprefix("unix://"))
        sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b" 200 " in sock.recv(100)
    return False


def _stop(folder):
    pid = int((folder / "pid").read_text())
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 15)
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while _runs(pid):
        assert time.monotonic() < deadline, "dockerd does not stop"
        time.sleep(0.05)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _load_images(host):
    import docker

    with contextlib.closing(docker.DockerClient(host, timeout=120)) as client:
        changes = ["ENV IMAGE_SAYS=hello", f"ENV PATH=/opt/app/bin:{_PATH}", "WORKDIR /opt/app"]
        changes.append('CMD ["sh", "-c", "echo $IMAGE_SAYS $0 > started; exec sleep 86400"]')
        _import(client, _with_tools(), IMAGE, changes)
        if shutil.which("busybox"):
            _import(client, _bare(), BARE, [])


def _import(client, data, name, changes):
    client.api.import_image_from_data(data, repository=name, tag="latest", changes=changes)


def _bare():
    """An image of one static program."""
    busybox = Path(shutil.which("busybox")).read_bytes()
    tree = _Tree()
    tree.file("bin/busybox", busybox, 0o755)
    for name in ("sh", "cat", "echo", "id", "ls", "sleep", "sha256sum", "env"):
        tree.link(f"bin/{name}", "busybox")
    return tree.close()


def _with_tools():
    tree = _Tree()
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree.folder)(f"usr/{name}")
        tree.link(name, f"usr/{name}")
    libraries = set()
    for name in _TOOLS:
        found = shutil.which(name, path=_PATH)
        if found:
            tree.file(f"usr/bin/{name}", Path(found).read_bytes(), 0o755)
            libraries |= _libraries(found)
    python = shutil.which("python3", path=_PATH)
    ask = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    stdlib = Path(subprocess.check_output([python, "-c", ask], text=True).strip())
    for file in stdlib.rglob("*"):
        inside = file.relative_to(stdlib)
        if (
            file.is_file()
            and _BIG.isdisjoint(inside.parts)
            and not inside.parts[0].startswith("config-")
        ):
            tree.file(str(file).lstrip("/"), file.read_bytes(), 0o644)
            if ".so" in file.name:
                libraries |= _libraries(file)
    for library in libraries:
        path = str(library).lstrip("/")
        path = path if path.startswith("usr/") else f"usr/{path}"
        tree.file(path, library.read_bytes(), 0o755)
    tree.folder("tmp", 0o1777)
    for name in ("root", "mnt", "run", "etc/profile.d", "opt/app/bin", "var/tmp"):
        tree.folder(name)
    tree.file("etc/profile", _PROFILE.encode(), 0o644)
    tree.file("etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n", 0o644)
    tree.file("etc/group", b"root:x:0:\n", 0o644)
    tree.file("opt/app/bin/of-the-image", b"#!/bin/sh\necho from the image\n", 0o755)
    return tree.close()


def _libraries(program):
    listed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    words = [word for line in listed.splitlines() for word in line.split() if word[0] == "/"]
    return {Path(word) for word in words if Path(word).exists()}


class _Tree:
    """A tar in memory."""

    def __init__(self):
        self._data = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._data, mode="w")  # noqa: SIM115 - closed by close

    def _add(self, name, kind, mode, data=b"", target=""):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.size, info.linkname = kind, mode, len(data), target
        self._tar.addfile(info, io.BytesIO(data))

    def file(self, name, data, mode):
        self._add(name, tarfile.REGTYPE, mode, data)

    def folder(self, name, mode=0o755):
        self._add(name, tarfile.DIRTYPE, mode)

    def link(self, name, target):
        self._add(name, tarfile.SYMTYPE, 0o777, target=target)

    def close(self):
        self._tar.close()
        return self._data.getvalue()
