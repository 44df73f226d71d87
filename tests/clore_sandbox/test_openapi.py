"""The OpenAPI document describes the running marketplace, no more and no less."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.clore_sandbox import write_openapi

from clore_sandbox.api.endpoints import ENDPOINTS
from clore_sandbox.control import OPERATIONS
from clore_sandbox.openapi import document

CONFIG = Path(__file__).with_name("schemathesis.toml")
#: Schemathesis judges by the HTTP status, which is always 200 in the reference dialect.
_BY_STATUS = "negative_data_rejection,missing_required_header,ignored_auth"


def test_the_file_equals_the_served_document(market):
    """`python -m tests.clore_sandbox.write_openapi` rewrites it."""
    assert write_openapi.PAGE.read_text("utf-8") == write_openapi.written()
    served = httpx.get(f"{market.control_url}/openapi.json")  # needs no key
    assert served.headers["content-type"] == "application/json"
    assert served.json() == json.loads(write_openapi.PAGE.read_text("utf-8"))


def test_every_call_is_documented():
    paths = document()["paths"]
    calls = {(method.upper(), path) for path, item in paths.items() for method in item}
    expected = {(method, f"/v1/{name}") for method, name in ENDPOINTS}
    expected |= {(o.method, f"/control/{o.name}") for o in OPERATIONS.values()}
    expected |= {("GET", "/control/health"), ("GET", "/control/openapi.json")}
    assert calls == expected


@pytest.mark.parametrize(
    ("part", "dialect", "phases", "examples"),
    [
        # The other phases take as long again; test_garbage.py has random bodies too.
        ("v1", "live", "coverage", 1),
        *(
            pytest.param(
                part, dialect, "examples,coverage,fuzzing", 15, marks=pytest.mark.exhaustive
            )
            # The controls are the same in both dialects.
            for part, dialect in (("v1", "live"), ("v1", "reference"), ("control", "live"))
        ),
    ],
)
def test_schemathesis_finds_no_failure(
    own_market, renter_of, tmp_path, part, dialect, phases, examples
):
    """Valid and invalid requests from the document, with orders and servers in place."""
    market = own_market(provision=False, dialect=dialect, host_servers=2, visibility_lag_s=0)
    renter = renter_of(market)
    free = [s["id"] for s in renter.free() if s["owner"] < 1_000_001]
    renter.create(free[0], env={"A": "b"}, ports={"22": "tcp", "8888": "http"})
    renter.create(free[1], type="spot", spotprice=0.001)
    key = market.api_key if part == "v1" else market.control_key
    checks = ["--exclude-checks", _BY_STATUS]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
            *(f"{market.control_url}/openapi.json", "--url", market.control_url[:-8]),
            *("-H", f"auth:{key}", "--include-path-regex", f"^/{part}/"),
            *("--phases", phases, "--max-examples", str(examples)),
            *("--seed", "1", "--generation-database", "none", "--no-color", "--warnings", "off"),
            # The reference dialect reports errors with HTTP 200 too.
            *(checks if dialect == "reference" else []),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
