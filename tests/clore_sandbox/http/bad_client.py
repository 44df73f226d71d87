"""A marketplace in its own process, and a client that sends any bytes over a real socket."""

import contextlib
import json
import re
import resource
import socket
import time
from pathlib import Path

import httpx
import served
from served import QUICK

KEY = "key-of-a-bad-client"
MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
INVALID, NO_KEY, NO_ENDPOINT = {"code": 2}, {"code": 3}, {"code": 4}
ORDER = {"renting_server": 1, "type": "on-demand", "currency": "bitcoin", "image": "i"}


class Server:
    """The address of a marketplace, and its log."""

    def __init__(self, process, log):
        place = json.loads(process.stdout.readline())
        self.pid, self.log = process.pid, log
        self.base_url, self.control_key = place["base_url"], place["control_key"]
        self.port = int(self.base_url.rpartition(":")[2].partition("/")[0])
        self.client = httpx.Client(base_url=self.base_url, headers={"auth": KEY}, timeout=20)

    def answers_quickly(self):
        started = time.monotonic()
        assert self.client.get("/wallets").json()["code"] == 0
        return time.monotonic() - started < 2

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def say(self, *parts):
        """Send bytes, and read all answers until the server closes: [(status, body)]."""
        with self.connect() as sock:
            for part in parts:
                sock.sendall(part)
            return answers(sock)

    def memory_mib(self):
        """The memory of all its processes together."""
        found = 0
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                status = dict(re.findall(r"(\w+):\s+(\d+)", (folder / "status").read_text()))
                if str(self.pid) in (folder.name, status["PPid"]):
                    found += int(status.get("VmRSS", 0))
        return found / 1024


def answers(sock, count=None):
    """Read answers from a connection until it closes or `count` have come."""
    data, found = b"", []
    while len(found) != count:
        head, gap, rest = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if gap and head.startswith(b"HTTP/1.1 100"):
            data = rest
        elif gap and len(rest) >= int(length[1]):
            body = rest[: int(length[1])]
            found.append((int(head.split()[1]), json.loads(body) if body else None))
            data = rest[int(length[1]) :]
        else:
            try:
                more = sock.recv(65_536)
            except ConnectionResetError:
                more = b""
            if not more:
                assert data == b"", "an incomplete answer"
                break
            data += more
    return found


def request(method, path, *headers, body=b"", key=KEY, last=True):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"auth: {key}"] if key else []
    lines += [f"Content-Length: {len(body)}"] if body else []
    lines += ["Connection: close"] if last else []
    raw = [h if isinstance(h, bytes) else h.encode() for h in headers]
    return b"\r\n".join([*(line.encode() for line in lines), *raw, b"", body])


@contextlib.contextmanager
def serve(log, *options, few_files=False):
    with log.open("w+") as err:
        code = "import resource, sys; from clore_sandbox.serve import main\n"
        if few_files:
            code += f"resource.setrlimit(resource.RLIMIT_NOFILE, (256, {MOST_FILES}))\n"
        code += f"sys.exit(main({[*QUICK, '--api-key', KEY, *options]}))"
        with served.python("-c", code, stderr=err, text=True) as process:
            try:
                server = Server(process, log)
                with server.client:
                    yield server
            finally:
                process.terminate()
            assert process.wait(20) == 0
    assert log.read_text() == ""
