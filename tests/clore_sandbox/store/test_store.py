"""One body of tests over both databases: work is atomic, and done one after another."""

import asyncio
import signal
import threading
from pathlib import Path

import pytest
import served

from clore_sandbox.store import AlreadyThere, Store, schema
from clore_sandbox.store.transaction_queue import PATIENCE_S

TABLE = "CREATE TABLE things (name TEXT PRIMARY KEY, worth BIGINT)"


@pytest.fixture
def store(db):
    store = Store(db)
    store.call(lambda tx: tx.do(TABLE))
    yield store
    store.close()


def put(name, worth=0):
    return lambda tx: tx.do("INSERT INTO things VALUES (?, ?)", name, worth)


def names(tx):
    return [row["name"] for row in tx.all("SELECT name FROM things ORDER BY name")]


def test_work_that_raises_leaves_nothing(store):
    def work(tx):
        put("half")(tx)
        raise LookupError("and now?")

    with pytest.raises(LookupError):
        store.call(work)
    assert store.call(names) == []


def test_rows_have_names_and_indexes(store):
    store.call(put("a", 2**63 - 1))
    row = store.call(lambda tx: tx.one("SELECT name, worth FROM things"))
    assert (row["name"], row[1], list(row.keys())) == ("a", 2**63 - 1, ["name", "worth"])
    assert dict(row) == {"name": "a", "worth": 2**63 - 1}
    assert store.call(lambda tx: tx.one("SELECT name FROM things WHERE worth = 1")) is None


def test_work_cancelled_in_the_queue_is_not_done(store):
    """The queue goes on, as when a stopping server cancels its requests."""
    go = threading.Event()

    async def give_up():
        store.submit(lambda _: go.wait())
        waiting = asyncio.ensure_future(store.run(put("given up")))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        go.set()
        return await asyncio.wait_for(store.run(names), 10)

    assert asyncio.run(give_up()) == []


def test_work_cancelled_while_it_runs_is_done(store):
    begun, go = threading.Event(), threading.Event()

    def slow(tx):
        begun.set()
        go.wait()
        put("done")(tx)

    async def give_up():
        waiting = asyncio.ensure_future(store.run(slow))
        await asyncio.to_thread(begun.wait)
        waiting.cancel()
        await asyncio.wait([waiting])
        go.set()
        return await asyncio.wait_for(store.run(names), 10)

    assert asyncio.run(give_up()) == ["done"]


def test_work_of_one_loop_turn_is_done_in_order(store):
    async def many():
        puts = [store.run(put(f"{number:03}")) for number in range(150)]
        return await asyncio.gather(*puts, store.run(names))

    *changed, found = asyncio.run(many())
    assert changed == [1] * 150
    assert found == [f"{number:03}" for number in range(150)]


def test_early_work_goes_before_the_rest_of_its_turn(store):
    def append(name):
        sql = "INSERT INTO things SELECT CAST(? AS TEXT), COUNT(*) FROM things"
        return lambda tx: tx.do(sql, name)

    async def many():
        late = store.run(append("late")), store.run(append("later"))
        early = store.run(append("early"), early=True), store.run(append("soon"), early=True)
        await asyncio.gather(*late, *early)

    asyncio.run(many())
    rows = store.call(lambda tx: tx.all("SELECT name FROM things ORDER BY worth"))
    assert [row["name"] for row in rows] == ["early", "soon", "late", "later"]


def test_long_work_does_not_block_the_loop(store):
    """The loop waits for a moment, and no longer."""
    go = threading.Event()

    async def meanwhile():
        waiting = asyncio.ensure_future(store.run(lambda tx: go.wait(10) and names(tx)))
        await asyncio.sleep(PATIENCE_S)
        assert not waiting.done()
        go.set()
        return await asyncio.wait_for(waiting, 10)

    assert asyncio.run(meanwhile()) == []


def test_work_that_raises_does_not_affect_its_neighbours(store):
    """They share a transaction; the failed work is undone, theirs is done once."""

    def half(tx):
        put("half")(tx)
        raise LookupError("and now?")

    async def many():
        work = [put("a", 1), half, put("b", 2), put("a"), names]
        return await asyncio.gather(*map(store.run, work), return_exceptions=True)

    first, raised, second, taken, found = asyncio.run(many())
    assert (first, second, found) == (1, 1, ["a", "b"])
    assert isinstance(raised, LookupError)
    assert isinstance(taken, AlreadyThere)
    assert store.call(lambda tx: tx.number("SELECT worth FROM things WHERE name = 'a'")) == 1


def test_numbers_are_integers_and_null_is_0(store):
    store.call(put("a", 5))
    store.call(put("b", 6))
    total = "SELECT SUM(worth) FROM things WHERE worth > ?"
    assert store.call(lambda tx: tx.number(total, 0)) == 11
    assert store.call(lambda tx: tx.number(total, 10)) == 0
    assert store.call(lambda tx: tx.number("SELECT worth FROM things WHERE name = ''")) == 0


def test_a_sum_is_a_whole_number(store):
    store.call(put("a", 2**62))
    row = store.call(lambda tx: tx.one("SELECT SUM(worth) AS total FROM things"))
    assert (row["total"], type(row["total"])) == (2**62, int)


def test_changes_are_counted(store):
    store.call(put("a", 5))
    assert store.call(lambda tx: tx.do("UPDATE things SET worth = worth + ?", 1)) == 1
    assert store.call(lambda tx: tx.do("DELETE FROM things WHERE worth = ?", 5)) == 0


def test_a_unique_violation_that_is_caught_keeps_the_rest_of_the_transaction(store):
    store.call(put("taken", 1))

    def work(tx):
        put("before")(tx)
        try:
            put("taken", 2)(tx)
        except AlreadyThere:
            put("after")(tx)
            return "refused"
        return "claimed"

    assert store.call(work) == "refused"
    assert store.call(names) == ["after", "before", "taken"]


def test_a_unique_violation_that_is_not_caught_rolls_back(store):
    store.call(put("taken"))

    def work(tx):
        put("before")(tx)
        put("taken")(tx)

    with pytest.raises(AlreadyThere):
        store.call(work)
    assert store.call(names) == ["taken"]


@pytest.mark.parametrize("text", ["?", "it's", "100 %", "%s $1", "a\\b", "日本", "", "\n"])
def test_text_is_stored_unchanged(store, text):
    store.call(put(text))
    assert store.call(names) == [text]
    assert store.call(lambda tx: tx.number("SELECT COUNT(*) FROM things WHERE name = ?", text)) == 1


def test_text_that_a_database_cannot_hold_is_accepted(store):
    store.call(put("a\0b"))
    assert store.call(lambda tx: tx.number("SELECT COUNT(*) FROM things")) == 1


def test_a_question_mark_in_quotes_is_no_placeholder(store):
    sql = "SELECT COUNT(*) FROM things WHERE name <> '?' AND worth = ? AND name <> 'it''s?'"
    store.call(put("a", 3))
    assert store.call(lambda tx: tx.number(sql, 3)) == 1


def test_true_is_stored_as_one(store):
    store.call(put("a", True))
    assert store.call(lambda tx: tx.number("SELECT worth FROM things WHERE worth = 1")) == 1


def test_none_is_stored_as_null(store):
    store.call(put("a", None))
    assert store.call(lambda tx: tx.one("SELECT worth FROM things"))["worth"] is None


def test_the_schema_exists_and_every_step_is_recorded(store):
    taken = {row["name"] for row in store.call(lambda tx: tx.all("SELECT name FROM steps"))}
    assert taken == {name for name, _ in schema.STEPS}


def test_recorded_steps_are_not_repeated(kept_db):
    Store(kept_db).close()
    Store(kept_db).close()
    store = Store(kept_db)
    assert store.call(lambda tx: tx.number("SELECT COUNT(*) FROM steps")) == len(schema.STEPS)
    store.close()


def test_committed_rows_survive_a_restart(kept_db):
    store = Store(kept_db)
    store.call(lambda tx: tx.do(TABLE))
    store.call(put("a"))
    store.close()
    store = Store(kept_db)
    assert store.call(names) == ["a"]
    store.close()


def test_a_database_has_one_marketplace(kept_db):
    store = Store(kept_db)
    with pytest.raises(RuntimeError, match="another marketplace"):
        Store(kept_db)
    store.close()
    Store(kept_db).close()


def test_concurrent_counting_loses_no_count(store):
    """Read, then write the value plus one: no other transaction may come between."""
    store.call(put("a", 0))

    def count(tx):
        worth = tx.number("SELECT worth FROM things WHERE name = 'a'")
        tx.do("UPDATE things SET worth = ? WHERE name = 'a'", worth + 1)

    threads = [
        threading.Thread(target=lambda: [store.call(count) for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.call(lambda tx: tx.number("SELECT worth FROM things")) == 200


def test_readers_see_acknowledged_writes(store):
    import asyncio

    async def main():
        seen = []
        for number in range(20):
            await store.run(put(str(number)))
            seen.append(await store.read(lambda tx: tx.number("SELECT COUNT(*) FROM things")))
        return seen

    assert asyncio.run(main()) == list(range(1, 21))


KILLED = """
import os, signal
from clore_sandbox.store import Store
store = Store("DB")
def work(tx):
    tx.do("INSERT INTO things VALUES ('half', 1)")
    tx.do("UPDATE things SET worth = worth - 1 WHERE name = 'whole'")
    os.kill(os.getpid(), signal.SIGKILL)
store.call(lambda tx: tx.do("INSERT INTO things VALUES ('whole', 1)"))
store.call(work)
"""


def test_a_kill_in_a_transaction_leaves_only_complete_ones(kept_db):
    store = Store(kept_db)
    store.call(lambda tx: tx.do(TABLE))
    store.close()
    with served.python("-c", KILLED.replace("DB", str(kept_db))) as killed:
        assert killed.wait(30) == -signal.SIGKILL
    store = Store(kept_db)  # at once: a killed process holds its lock only briefly
    rows = store.call(lambda tx: tx.all("SELECT * FROM things"))
    assert [dict(row) for row in rows] == [{"name": "whole", "worth": 1}]
    store.close()


def test_a_database_file_is_private_to_its_owner(tmp_path):
    Store(tmp_path / "market.db").close()
    for name in ("market.db", "market.db.lock"):
        assert Path(tmp_path, name).stat().st_mode & 0o777 == 0o600
