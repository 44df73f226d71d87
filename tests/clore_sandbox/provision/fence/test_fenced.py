"""A room's first process that attacks the marketplace: the test drives its end by hand."""

import asyncio
import errno
import json
import os
import socket
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from clore_sandbox.provision.fence.fenced import Fenced, packet_pair
from clore_sandbox.provision.fence.interior import Shell


@asynccontextmanager
async def fenced():
    """A room, and the end of its socket inside the room."""
    ours, theirs = packet_pair()

    async def end():
        theirs.close()

    room = Fenced(ours, end)
    room.shell = Shell({}, "/")
    theirs.setblocking(False)
    try:
        yield room, theirs
    finally:
        await room.end()


def say(sock, *descriptors, **message):
    socket.send_fds(sock, [json.dumps(message).encode()], descriptors)


async def hear(sock):
    return json.loads(await asyncio.get_running_loop().sock_recv(sock, 65536))


@contextmanager
def carried(tmp_path):
    """A descriptor to send, and a count of how often this process has its file open."""
    path = tmp_path / "carried"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)

    def count():
        entries = Path("/proc/self/fd").iterdir()
        return sum(os.path.realpath(entry) == str(path) for entry in entries)

    yield descriptor, count
    os.close(descriptor)


def run(test):
    asyncio.run(asyncio.wait_for(test(), 10))


def test_nonsense_is_ignored_and_its_descriptors_are_closed(tmp_path):
    async def test():
        async with fenced() as (room, theirs):
            with carried(tmp_path) as (file, count):
                deep = b"[" * 60_000
                for packet in (b"{", deep, b"\xff", b'{"id": "x"}', b'{"pid": []}', b"null"):
                    socket.send_fds(theirs, [packet], [file] * 3)
                say(theirs, file, id=7, pid=3)
                say(theirs, file, file, connection=1)
                say(theirs, has=5, home={})
                found = await room.found(5)
                assert (found.programs, found.home) == ([], "/")
                assert count() == 1

    run(test)


def test_a_guest_is_connected_to_public_ports_only():
    async def test():
        arrived = []
        server = await asyncio.start_server(
            lambda _, writer: (arrived.append(1), writer.close()), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        async with fenced() as (room, theirs):
            for met in (frozenset(), frozenset({port})):
                room.lead_out(met)
                inside, guest = socket.socketpair()
                guest.setblocking(False)
                with inside, guest:
                    say(theirs, inside.fileno(), connection=port)
                    inside.close()
                    assert await asyncio.get_running_loop().sock_recv(guest, 1) == b""
                assert len(arrived) == (port in met)
        server.close()

    run(test)


@pytest.mark.parametrize("code", [None, "x", 256, -999, 10**30, True])
def test_an_impossible_exit_code_counts_as_a_kill(code):
    async def test():
        async with fenced() as (room, theirs):
            started = asyncio.ensure_future(room.start(["x"], {}, (0, 1, 2)))
            request = await hear(theirs)
            say(theirs, id=request["id"], pid=4)
            process = await started
            say(theirs, pid=4, code=code)
            assert await process.exited == -9

    run(test)


def test_an_exit_right_after_the_start_is_not_lost():
    async def test():
        async with fenced() as (room, theirs):
            started = asyncio.ensure_future(room.start(["x"], {}, (0, 1, 2)))
            request = await hear(theirs)
            say(theirs, id=request["id"], pid=4)
            say(theirs, pid=4, code=3)
            assert await (await started).exited == 3

    run(test)


def test_a_missing_or_wrong_answer_is_an_error(tmp_path):
    async def test():
        async with fenced() as (room, theirs):
            for answer in ({}, {"errno": errno.ENOENT}):
                asked = asyncio.ensure_future(room.dial("127.0.0.1", 9))
                request = await hear(theirs)
                say(theirs, id=request["id"], **answer)
                with pytest.raises(OSError, match=r"Protocol error|No such file"):
                    await asked
            # A file in place of the requested socket.
            asked = asyncio.ensure_future(room.dial("127.0.0.1", 9))
            with carried(tmp_path) as (file, count):
                say(theirs, file, id=(await hear(theirs))["id"])
                with pytest.raises(OSError, match="non-socket"):
                    await asked
                assert count() == 1

    run(test)


def test_its_end_reaches_every_waiter():
    async def test():
        async with fenced() as (room, theirs):
            started = asyncio.ensure_future(room.start(["x"], {}, (0, 1, 2)))
            say(theirs, id=(await hear(theirs))["id"], pid=4)
            process = await started
            asked = asyncio.ensure_future(room.listen("127.0.0.1", 0))
            await hear(theirs)
            theirs.close()
            with pytest.raises(OSError, match="has ended"):
                await asked
            assert await process.exited == -9
            with pytest.raises(OSError, match="Bad file"):
                await room.start(["x"], {}, (0, 1, 2))

    run(test)
