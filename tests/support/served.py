"""A marketplace in a process of its own, as somebody's shell would start it."""

import contextlib
import json
import socket
import subprocess
import sys


class Remote:
    """Enough of a Sandbox for a renter, and its process."""

    def __init__(self, process, line):
        fields = json.loads(line)
        self.base_url, self.api_key = fields["base_url"], fields["api_key"]
        self.process = process

    def kill(self):
        """As a power cut would."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serve(*options, **kwargs):
    """A quick one with these options (Popen's by name); stopped at the end, if it runs still."""
    words = [sys.executable, "-m", "clore_sandbox", "--json", "--lag", "0", "--boot", "0"]
    with subprocess.Popen(
        [*words, "--no-limits", *map(str, options)], stdout=subprocess.PIPE, **kwargs
    ) as process:
        yield Remote(process, process.stdout.readline())
        if process.poll() is None:
            process.terminate()
            assert process.wait(20) == 0


def ssh_answers(port):
    """Whether somebody speaks SSH on this port of loopback; no port, nobody."""
    if port is None:
        return False
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
        return sock.recv(4) == b"SSH-"
    return False
