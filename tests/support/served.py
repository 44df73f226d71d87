"""A marketplace in a process of its own, as a user's shell would start it."""

import contextlib
import json
import socket
import subprocess
import sys


class Remote:
    """The part of a Sandbox that a renter needs, and its process."""

    def __init__(self, process, line):
        fields = json.loads(line)
        self.base_url, self.api_key = fields["base_url"], fields["api_key"]
        self.process = process

    def kill(self):
        """Kill the process, as a power cut would."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serve(*options, **kwargs):
    """A fast marketplace with these options (Popen's by name), stopped at the end if it runs."""
    words = [sys.executable, "-m", "clore_sandbox", "--json", "--lag", "0", "--boot", "0"]
    with subprocess.Popen(
        [*words, "--no-limits", *map(str, options)], stdout=subprocess.PIPE, **kwargs
    ) as process:
        yield Remote(process, process.stdout.readline())
        if process.poll() is None:
            process.terminate()
            assert process.wait(20) == 0


def ssh_answers(port):
    """True if an SSH server answers on this loopback port."""
    if port is None:
        return False
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
        return sock.recv(4) == b"SSH-"
    return False
