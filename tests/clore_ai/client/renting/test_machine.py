"""A rented machine is used: files, commands and ports."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.request

import pytest

from clore_ai.exceptions import TransportError, WaitTimeout


def test_upload_and_download(api, tmp_path):
    """Folders, files, odd names and modes survive; a second upload sends only what changed."""
    home = tmp_path / "my files"
    (home / "sub").mkdir(parents=True)
    (home / "empty").mkdir()
    (home / "sub" / "a b.txt").write_bytes(b"\0one")
    (home / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (home / "run.sh").chmod(0o755)
    back = tmp_path / "back"
    with api.renting("RTX 4090", verify="ssh") as rental:
        rental.put(home, "work 1/in")
        rental.put(home / "run.sh", "work 1/deep/er/go")
        assert rental.exec("'work 1/deep/er/go'").stdout == "ran\n"
        assert rental.get("work 1", back) == {}
        assert (back / "in" / "sub" / "a b.txt").read_bytes() == b"\0one"
        assert (back / "in" / "empty").is_dir()
        inode = (back / "in" / "run.sh").stat().st_ino
        rental.exec("printf two > 'work 1/in/sub/a b.txt'")
        rental.get("work 1", back)
        assert (back / "in" / "sub" / "a b.txt").read_text() == "two"
        assert (back / "in" / "run.sh").stat().st_ino == inode
        rental.get("work 1/in/run.sh", tmp_path / "one" / "two")
        assert (tmp_path / "one" / "two").stat().st_mode & 0o100
        with pytest.raises(TransportError, match="nothing does not exist on the machine"):
            rental.get("nothing", tmp_path / "x")
        with pytest.raises(TransportError, match="1 file, 3 B, and max_bytes allows 2 B"):
            rental.get("work 1/in/sub", tmp_path / "small", max_bytes=2)
        with pytest.raises(FileNotFoundError):
            rental.put(tmp_path / "nowhere", "x")


def test_exec_returns_exit_code_and_streams_within_a_limit(api):
    with api.renting("RTX 4090", verify="ssh") as rental:
        result = rental.exec("echo out; echo err >&2; exit 7")
        assert (result.code, result.stdout, result.stderr) == (7, "out\n", "err\n")
        with pytest.raises(WaitTimeout, match=r"did not end within 0\.5 s") as caught:
            rental.exec("sleep 60", timeout=0.5)
        assert caught.value.order.id == rental.order.id
        line = ["sh", "-c", f"{rental.ssh_command} echo in"]
        done = subprocess.run(line, capture_output=True, check=False, timeout=30)
        assert done.stdout == b"in\n"


def test_a_port_is_forwarded_while_the_block_lasts(api):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        inner = free.getsockname()[1]
    serve = f"python3 -m http.server {inner} --bind 127.0.0.1 >/dev/null 2>&1 &"
    with api.renting("RTX 4090", verify="ssh") as rental:
        rental.exec(f"mkdir served && cd served && echo hello > index.html && ({serve})")
        with rental.forward(inner) as port:
            url = f"http://127.0.0.1:{port}/"
            assert _read(url) == b"hello\n"
            taken = pytest.raises(TransportError, match=f"local port {port} is taken")
            with taken, rental.forward(inner, port):
                pass
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(url, timeout=5)


def _read(url: str) -> bytes:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            body: bytes = answer.read()
            return body
        time.sleep(0.05)
    raise AssertionError(url)
