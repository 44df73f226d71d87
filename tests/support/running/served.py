"""`python -m clore_sandbox`: in a process of its own, or in the test's process if it must fail.

The processes are forks of one that has imported a marketplace, the SDK and pytest.
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
from importlib.util import find_spec

from forks import Fork, Forks

from clore_sandbox import serve as command

QUICK = ("--json", "--lag", "0", "--boot", "0", "--no-limits")
_FIRST = (
    *("clore_sandbox.running", "clore_sandbox.testing", "clore_ai.client", "httpx", "httpcore"),
    *("idna.core", "psycopg", "pytest", "requests"),
)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@lru_cache(maxsize=1)
def _forks():
    first = [each for each in _FIRST if find_spec(each.partition(".")[0])]
    return Forks("served:program", tuple(first))


def program():
    """Run a marketplace with the options of the command line, or the program after `-c`."""
    if sys.argv[0] == "-c":
        exec(sys.argv[1], {"__name__": "__main__"})
    else:
        sys.exit(command.main())


def start(*options, **kwargs):
    """A marketplace with these options, as a Popen with these arguments."""
    return python("clore_sandbox", *options, **kwargs)


def python(*words, env=None, **kwargs):
    """A Popen for `-c PROGRAM`: a Python that has imported all of these."""
    env = dict(os.environ) if env is None else env
    return Fork(_forks(), list(map(str, words)), stdout=subprocess.PIPE, env=env, **kwargs)


def run(code, *, timeout=60, **kwargs):
    """Like `subprocess.run` of ``python -c CODE`` with its output as text."""
    pipes = {"stderr": subprocess.PIPE, "text": True}
    with python("-c", code, **pipes, **kwargs) as process:
        out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class Remote:
    """A marketplace's addresses and keys, as it prints them, and its process."""

    def __init__(self, process, line):
        assert line, "the marketplace did not start"
        self.__dict__.update(json.loads(line))
        self.process = process

    def kill(self):
        """Kill the process, as a power cut would."""
        self.process.kill()
        self.process.wait()


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
