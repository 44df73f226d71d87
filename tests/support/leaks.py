"""Searches for secrets in strings, files, command lines of processes and exceptions."""

from __future__ import annotations

import base64
import json
import threading
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TESTS = str(Path(__file__).parents[1])
_OWN = (_TESTS, "/_pytest/", "/pluggy/")


def forms(secret: str) -> set[bytes]:
    """A secret in plain text, in JSON, in a repr, in a URL and in base64."""
    texts = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(secret.encode()).decode(),
    }
    return {text.encode() for text in texts}


def clean(shown: str | bytes, secrets: Iterable[str], where: str) -> None:
    """Fail if the text contains a secret in any form."""
    text = shown.encode("utf-8", "replace") if isinstance(shown, str) else shown
    for secret in secrets:
        for form in forms(secret):
            at = text.find(form)
            assert at < 0, f"{where} shows {secret!r}: {text[max(0, at - 200) : at + 80]!r}"


def clean_files(folder: Path, secrets: Iterable[str], *, but: Callable[[Path], bool]) -> None:
    """Fail if a file or its name contains a secret."""
    for path in folder.rglob("*"):
        if path.is_file() and not but(path):
            clean(str(path.relative_to(folder)), secrets, "a file's name")
            clean(path.read_bytes(), secrets, str(path))


def texts_of(exc: BaseException) -> Iterator[str]:
    """All texts that a tool could print of an exception: its own, and the locals of every frame.

    The chain counts too, even if suppressed. The test's own frames are omitted: the test made up
    the secrets.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [exc]
    while left:
        error = left.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        left += [error.__cause__, error.__context__]
        yield f"{error}\n{error!r}\n{error.args!r}\n{vars(error)!r}"
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        for frame in shown.stack:
            if not any(own in frame.filename for own in _OWN):
                yield f"{frame.filename}:{frame.lineno}: {frame.locals}"


class Watch:
    """Command lines of a process and its descendants, read all the time that it runs."""

    def __init__(self, pid: int) -> None:
        self.seen: set[bytes] = set()
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.01):
            left = [self._pid]
            while left:
                folder = Path(f"/proc/{left.pop()}")
                try:
                    self.seen.add((folder / "cmdline").read_bytes())
                    for task in folder.glob("task/*/children"):
                        left += map(int, task.read_text().split())
                except OSError:
                    continue

    def stop(self) -> set[bytes]:
        self._over.set()
        self._thread.join()
        return self.seen


@contextmanager
def answering(answer: Callable[[str], tuple[int, str, str]]) -> Iterator[str]:
    """The base URL of a host that makes its answer from the whole request, headers and body."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            status, kind, text = answer(f"{self.path} {self.headers.items()} {body}")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815 - the standard library's name

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def _no_orders(sent: str) -> tuple[int, str, str] | None:
    """The answer to the search before an order, so that the order is sent."""
    if not sent.startswith("/v1/my_orders?"):
        return None
    return 200, "application/json", '{"code": 0, "orders": []}'


def page(sent: str) -> tuple[int, str, str]:
    """A gateway's page that quotes the request."""
    return _no_orders(sent) or (403, "text/html", sent)


def refusal(sent: str) -> tuple[int, str, str]:
    """A refusal whose reason quotes the request."""
    text = json.dumps({"code": 6, "error": f"bad input: {sent}"})
    return _no_orders(sent) or (200, "application/json", text)


def everything(secrets: dict[str, str]) -> Callable[[str], tuple[int, str, str]]:
    """A host that answers each request with a success that contains every kind of secret."""
    given = {
        "ssh_password": secrets["password"],
        "jupyter_token": secrets["token"],
        "env": {"PLAIN": secrets["env"]},
        "command": f"login {secrets['env']}",
        "dockerhub_auth": {"user": "me", "pass": secrets["password"]},
        "later": [{"access_token": secrets["token"]}],
    }
    order: dict[str, Any] = {
        "id": 7, "si": 9, "ct": 1_700_000_000, "price": 1, "currency": "bitcoin",
        "pub_cluster": ["127.0.0.1"], "tcp_ports": ["22:9"], "mon_container": 2, **given,
    }  # fmt: skip
    host = {"name": "mine", "connected": False, "init_token": secrets["token"], **given}
    body = {
        "code": 0,
        "orders": [order, {"id": None, **given}],
        "wallets": [{"name": "bitcoin", "balance": 1, **given}],
        "servers": [{"id": 9, **host}],
        "config": {"name": "mine", "background_job": {"image": "i", **given}, **given},
        "market": {"offers": [], "server": {}, "currency_rates_in_usd": {"bitcoin": 60_000}},
    }
    return lambda _sent: (200, "application/json", json.dumps(body))
