"""Host memory: which records count and for how long, and the format of lists."""

from __future__ import annotations

import programs
import pytest

from clore_ai._state.hosts import (
    COUNTS_FOR_S,
    Block,
    HostRecord,
    Hosts,
    read_list,
    records,
    think,
)
from clore_ai._state.store import Store
from clore_ai.exceptions import InvalidInputError

NOW = 1_000_000_000.0


def fail(server: int, owner: int = 7, ago: float = 10.0) -> HostRecord:
    return HostRecord(server, owner, NOW - ago, good=False, reason="no SSH")


def lost(server: int, owner: int = 7, ago: float = 10.0) -> HostRecord:
    return HostRecord(server, owner, NOW - ago, good=False, reason="lost", lost=True)


def good(server: int, owner: int = 7, ago: float = 5.0) -> HostRecord:
    return HostRecord(server, owner, NOW - ago, good=True, boot_s=90.0)


def test_each_failure_adds_to_the_cost_and_three_bar_the_server():
    for count, cost_factor in ((0, 1.0), (1, 1.25), (2, 1.5)):
        opinion = think([fail(1)] * count, [], NOW)
        assert opinion.cost_factor(1, 7) == cost_factor
        assert opinion.bars(1, 7) is None
    assert think([fail(1)] * 3, [], NOW).bars(1, 7) == "failed 3 times in 7 days"


def test_no_ban_is_permanent():
    """It ends after a time, or when the server works."""
    assert think([fail(1, ago=COUNTS_FOR_S + 1)] * 3, [], NOW).bars(1, 7) is None
    assert think([fail(1)] * 3 + [good(1)], [], NOW).cost_factor(1, 7) == 1.0
    assert think([good(1, ago=20)] + [fail(1)] * 3, [], NOW).bars(1, 7)


def test_an_owner_whose_servers_fail_is_suspected_until_one_works():
    failing = [fail(1), fail(2), fail(3)]
    assert think(failing, [], NOW).cost_factor(4, 7) == 1.25
    assert think(failing[:2], [], NOW).cost_factor(4, 7) == 1.0
    assert think([*failing, good(5)], [], NOW).cost_factor(4, 7) == 1.0
    assert think(failing, [], NOW).cost_factor(4, None) == 1.0
    assert think([fail(i, owner=None) for i in (1, 2, 3)], [], NOW).cost_factor(4, None) == 1.0


def test_a_lost_machine_counts_even_if_the_server_boots_again():
    """It counts for 7 days, against the owner's other servers too; three bar the server."""
    opinion = think([good(1, ago=20), lost(1), good(1), good(2)], [], NOW)
    assert (opinion.cost_factor(1, 7), opinion.cost_factor(2, 7), opinion.cost_factor(3, 8)) == (
        1.25,
        1.25,
        1.0,
    )
    assert think([lost(1), good(1)] * 3, [], NOW).bars(1, 7) == "failed 3 times in 7 days"
    assert think([lost(1), fail(1)], [], NOW).cost_factor(1, 7) == 1.5
    assert think([lost(1, ago=COUNTS_FOR_S + 1)], [], NOW).cost_factor(2, 7) == 1.0
    assert think([lost(1, owner=None)], [], NOW).cost_factor(2, None) == 1.0
    (record,) = records([good(1), lost(1), fail(1)], think([], [], NOW))
    assert (record.boots, record.failures, record.lost) == (1, 2, 1)


def test_a_block_stays_until_the_host_is_allowed(tmp_path):
    hosts = Hosts(Store(tmp_path), "here")
    hosts.block([Block("server", 1, NOW), Block("owner", 9, NOW, "rude")])
    hosts.note(fail(1))
    later = hosts.opinion(NOW + 10 * COUNTS_FOR_S)
    assert (later.bars(1, 7), later.bars(2, 9), later.bars(2, 7)) == (
        "blocked by you",
        "rude",
        None,
    )
    assert hosts.allow("server", 1)
    assert not hosts.allow("server", 1)
    assert Hosts(Store(tmp_path), "here").sights() == []
    assert Hosts(Store(tmp_path), "elsewhere").blocks() == []
    assert hosts.blocks() == [Block("owner", 9, NOW, "rude")]


def test_records_are_kept_for_90_days(tmp_path):
    hosts = Hosts(Store(tmp_path), "here")
    hosts.note(fail(1, ago=91 * 86_400))
    hosts.note(good(2))
    assert hosts.sights() == [good(2)]
    (record,) = records(hosts.sights(), hosts.opinion(NOW))
    assert (record.server_id, record.boots, record.failures, record.boot_s) == (2, 1, 0, 90.0)


def test_reading_creates_no_file(tmp_path):
    assert Hosts(Store(tmp_path / "new"), "here").opinion(NOW).blocked == {}
    assert not (tmp_path / "new").exists()


def test_many_processes_write_at_once(tmp_path):
    """None of their records is lost."""
    code = (
        "import sys; from pathlib import Path\n"
        "from clore_ai._state.hosts import Hosts, HostRecord\n"
        "from clore_ai._state.store import Store\n"
        "hosts = Hosts(Store(Path(sys.argv[1])), 'here')\n"
        "for i in range(10): hosts.note(HostRecord(int(sys.argv[2]), None, 1e9, good=True))\n"
    )
    running = [programs.start(code, tmp_path, i) for i in range(4)]
    assert [process.communicate(timeout=60) for process in running] == [("", None)] * 4
    assert len(Hosts(Store(tmp_path), "here").sights()) == 40


def test_a_written_list_reads_back_the_same():
    blocks = [Block("server", 12, NOW, "no SSH"), Block("owner", 3, NOW), Block("server", 5, NOW)]
    assert read_list("\n# mine\n" + "\n".join(map(str, blocks)), NOW) == blocks
    assert read_list("\ufeff12\r\n owner 3 #x\r\n", NOW)[1] == Block("owner", 3, NOW, "x")


@pytest.mark.parametrize("line", ["12x", "owner:", "-3", "12 13", "1" * 19])
def test_an_invalid_line_is_named(line):
    with pytest.raises(InvalidInputError, match="Line 2"):
        read_list(f"1\n{line}", NOW)
