"""A marketplace that goes on after each bad client, with an empty log."""

import pytest
from tests.clore_sandbox.http.bad_client import serve


@pytest.fixture(
    scope="module",
    params=["1 process", pytest.param("2 workers", marks=pytest.mark.exhaustive)],
)
def shared(request, tmp_path_factory):
    """A marketplace of one process, and one of two workers; the log is checked at the end."""
    options = []
    if request.param == "2 workers":
        options = ["--db", request.getfixturevalue("new_schema")(), "--workers", "2"]
    with serve(tmp_path_factory.mktemp("log") / "log", *options) as server:
        yield server


@pytest.fixture
def server(shared):
    """After each test the next client is answered, and the log is empty."""
    before = shared.log.read_text()
    yield shared
    assert shared.answers_quickly()
    assert shared.log.read_text()[len(before) :] == ""
