"""Logs each request and its answer to ``clore_ai`` at DEBUG, without secrets.

``clore_ai.curl`` at DEBUG gets every request as a curl line for a shell. The line reads the key
from ``$CLORE_API_KEY``, and works unchanged except for other secrets, which are ``***``. That
logger is off until its own level is set, since it repeats the other one.
"""

from __future__ import annotations

import json
import logging
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from clore_ai._api.parse import read_json
from clore_ai._values.secrets import masked, scrub, texts
from clore_ai._values.text import plain
from clore_ai._version import __version__

if TYPE_CHECKING:
    from clore_ai._api.call import Call, Reply

_log = logging.getLogger("clore_ai")
_log.addHandler(logging.NullHandler())
_curl_log = logging.getLogger("clore_ai.curl")
if _curl_log.level == logging.NOTSET:
    _curl_log.setLevel(logging.WARNING)
_LONGEST = 2_000
"""The most characters of an answer that are shown."""
_PAGE_LONGEST = 200
"""Likewise, if it is not JSON."""


@dataclass(frozen=True)
class Exchange:
    """One request, logged when it is sent and when it ends."""

    call: Call[Any]
    base_url: str
    has_key: bool
    tries: int

    def sent(self) -> None:
        """Log the request."""
        if _curl_log.isEnabledFor(logging.DEBUG):
            _curl_log.debug("%s", self.curl())
        if _log.isEnabledFor(logging.DEBUG):
            body = "" if self.call.body is None else f" {json.dumps(masked(self.call.body))}"
            _log.debug("> %s%s (try %d)", self._what(), body, self.tries)

    def answered(self, reply: Reply, seconds: float) -> None:
        """Log the answer."""
        if _log.isEnabledFor(logging.DEBUG):
            shown = _shown(reply, texts(self.call.body))
            head = f"{reply.status} in {seconds * 1000:.0f} ms (try {self.tries})"
            _log.debug("< %s %s, %d bytes: %s", self._what(), head, len(reply.content), shown)

    def failed(self, exc: BaseException, seconds: float) -> None:
        """Log that no answer came, and why."""
        if _log.isEnabledFor(logging.DEBUG):
            why = scrub(f"{type(exc).__name__}: {exc}", texts(self.call.body)).rstrip(": ")
            head = f"no answer in {seconds * 1000:.0f} ms (try {self.tries})"
            _log.debug("< %s %s, %s", self._what(), head, plain(why))

    def curl(self) -> str:
        """The same request for a shell."""
        # Unknown default user agents can meet HTTP 403 at the CDN (service.md, 1).
        words = ["curl", "-sS", "-A", f"clore-ai/{__version__}"]
        words += ["-X", self.call.method, shlex.quote(self._url())]
        if self.has_key:
            words += ["-H", '"auth: $CLORE_API_KEY"']
        if self.call.body is not None:
            data = json.dumps(masked(self.call.body))
            words += ["-H", "'Content-Type: application/json'", "--data-raw", shlex.quote(data)]
        return " ".join(words)

    def _url(self) -> str:
        query = f"?{urlencode(self.call.params)}" if self.call.params else ""
        return f"{self.base_url}/{self.call.path}{query}"

    def _what(self) -> str:
        url = urlsplit(self._url())
        return f"{self.call.method} {url.path}" + (f"?{url.query}" if url.query else "")


def _shown(reply: Reply, secrets: set[str]) -> str:
    try:
        text = json.dumps(masked(read_json(reply.content)[0]), ensure_ascii=False)
        longest = _LONGEST
    except (ValueError, RecursionError):
        text = reply.content.decode("utf-8", "replace").strip()
        if text.startswith(("{", "[")):  # its secrets can't be recognised
            return "broken JSON"
        text, longest = ascii(text), _PAGE_LONGEST
    return plain(scrub(text, secrets), longest)
