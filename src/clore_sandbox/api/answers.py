"""`Answer`: the JSON envelope with its `code`, and its HTTP status; pure.

service.md section 1 has the table of codes. In the live dialect a status is the one that was
observed, or that the documents name. In the reference dialect every answer is HTTP 200, as the
documents' examples assume, and a refusal has a `message` beside its `error`, as in 004's
`APIResponse`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.api.order_shapes import Dialect
    from clore_sandbox.rules import Refusal
    from clore_sandbox.values.json_types import JsonObject

__all__ = [
    "BAD_ENDPOINT",
    "BAD_INPUT",
    "BAD_KEY",
    "BROKEN",
    "RATE_LIMITED",
    "TOO_LARGE",
    "Answer",
    "refused",
    "retry_after",
    "success",
]

NORMAL, DATABASE_ERROR, INVALID_INPUT, INVALID_KEY, INVALID_ENDPOINT, RATE_LIMIT, SEE_ERROR = range(
    7
)


@dataclass(frozen=True)
class Answer:
    """An answer: a JSON object, or bytes if the body is prepared."""

    status: int
    body: JsonObject | bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def code(self) -> int | None:
        """The envelope's code; prepared bytes are always a success."""
        if isinstance(self.body, bytes):
            return NORMAL if self.status == 200 else None  # noqa: PLR2004 - HTTP's own
        code = self.body.get("code")
        return code if isinstance(code, int) else None

    @property
    def error(self) -> str | None:
        """The envelope's reason."""
        error = None if isinstance(self.body, bytes) else self.body.get("error")
        return error if isinstance(error, str) else None

    def in_dialect(self, dialect: Dialect) -> Answer:
        """The answer in this dialect: reference has status 200, and `message` with `error`."""
        if dialect == "live":
            return self
        body = self.body
        if self.error is not None and not isinstance(body, bytes):
            body = {**body, "message": self.error}
        return Answer(200, body, self.media_type, self.headers)

    def to_bytes(self) -> bytes:
        """The body on the wire."""
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


def success(**fields: object) -> Answer:
    """Code 0, which the service writes as the last field."""
    return Answer(200, {**fields, "code": NORMAL})


BROKEN = Answer(500, {"code": DATABASE_ERROR})
BAD_INPUT = Answer(400, {"code": INVALID_INPUT})
TOO_LARGE = Answer(413, {"code": INVALID_INPUT})
BAD_KEY = Answer(401, {"code": INVALID_KEY})
BAD_ENDPOINT = Answer(404, {"code": INVALID_ENDPOINT})
RATE_LIMITED = Answer(429, {"code": RATE_LIMIT})


def retry_after(seconds: float) -> Answer:
    """Code 5 with a Retry-After header, in whole seconds."""
    return replace(RATE_LIMITED, headers={"retry-after": str(math.ceil(seconds))})


_STATUS = {"currency-not-allowed": 500}
"""HTTP statuses of code 6 other than 200: currency-not-allowed was observed with 500."""


def refused(refusal: Refusal) -> Answer:
    """Code 6 with its reason; server-already-rented also has a `status`, as observed."""
    fields: JsonObject = {"error": refusal.error, **refusal.extra, "code": SEE_ERROR}
    if refusal.error == "server-already-rented":
        fields = {"status": "error", **fields}
    return Answer(_STATUS.get(refusal.error, 200), fields)
