"""`python -m clore_sandbox`: in a process of its own, a fork of one that has imported all of it.

Or in the process of the test, if it is to fail.
"""

import contextlib
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from functools import lru_cache

from forks import Fork, Forks

from clore_sandbox import serve as command

_FIRST = ("psycopg", "clore_sandbox.store.postgres_driver", "clore_sandbox.running", "idna.core")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@lru_cache(maxsize=1)
def _forks():
    return Forks("served:marketplace", ("clore_sandbox.sandbox", *_FIRST))


def marketplace():
    """The program of a fork."""
    sys.exit(command.main())


def start(*options, env=None, **kwargs):
    """A marketplace with these options, as a Popen with its other arguments."""
    env = dict(os.environ) if env is None else env
    words = ["clore_sandbox", *map(str, options)]
    return Fork(_forks(), words, stdout=subprocess.PIPE, env=env, **kwargs)


class Remote:
    """The part of a Sandbox that a renter needs, and its process."""

    def __init__(self, process, line):
        assert line, "the marketplace did not start"
        fields = json.loads(line)
        self.base_url, self.api_key = fields["base_url"], fields["api_key"]
        self.control_url, self.control_key = fields["control_url"], fields["control_key"]
        self.process = process

    def kill(self):
        """Kill the process, as a power cut would."""
        self.process.kill()
        self.process.wait()


QUICK = ("--json", "--lag", "0", "--boot", "0", "--no-limits")


@contextlib.contextmanager
def serve(*options, **kwargs):
    """A fast marketplace with these options (Popen's by name), stopped at the end if it runs."""
    with start(*QUICK, *options, **kwargs) as process:
        try:
            yield Remote(process, process.stdout.readline())
        except BaseException:
            process.kill()
            raise
        if process.poll() is None:
            process.terminate()
            assert process.wait(60) == 0


def fails(*options):
    """Run a marketplace that cannot start, in this process: its exit status and its stderr."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = command.main(["--json", *map(str, options)])
    except SystemExit as exc:
        status = exc.code
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert out.getvalue() == ""
    return status, err.getvalue()


def ssh_answers(port):
    """True if an SSH server answers on this loopback port."""
    if port is None:
        return False
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
        return sock.recv(4) == b"SSH-"
    return False
