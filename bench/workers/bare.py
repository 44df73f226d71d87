"""The smallest server of a body: Starlette on uvicorn (uvloop, httptools) and ready bytes.

`bare.py PLAIN GZIP`, two files. Prints its address and process id; ends when its input closes.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

PLAIN, GZIP = (Path(name).read_bytes() for name in sys.argv[1:3])


async def marketplace(request: Request) -> Response:
    """Return the bytes unchanged."""
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers = {"content-encoding": "gzip", "vary": "accept-encoding"}
        return Response(GZIP, headers=headers, media_type="application/json")
    return Response(PLAIN, headers={"vary": "accept-encoding"}, media_type="application/json")


app = Starlette(routes=[Route("/v1/marketplace", marketplace)])
server = uvicorn.Server(
    uvicorn.Config(app, loop="uvloop", http="httptools", log_level="warning", access_log=False)
)


def end_with_input() -> None:
    sys.stdin.read()
    server.should_exit = True


with socket.create_server(("127.0.0.1", 0), backlog=2048) as sock:
    port = sock.getsockname()[1]
    where = {"base_url": f"http://127.0.0.1:{port}/v1", "pid": os.getpid()}
    print(json.dumps(where), flush=True)
    threading.Thread(target=end_with_input, daemon=True).start()
    server.run(sockets=[sock])
