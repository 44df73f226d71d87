"""PostgreSQL alone: several processes, transactions undone, connections lost."""

import asyncio
import threading
from urllib.parse import urlsplit

import pytest

from clore_sandbox.store import Store

psycopg = pytest.importorskip("psycopg")

TABLE = "CREATE TABLE things (name TEXT PRIMARY KEY, worth BIGINT)"


@pytest.fixture
def stores(postgres_db):
    """The stores of the marketplace and of a worker."""
    first = Store(postgres_db)
    first.call(lambda tx: tx.do(TABLE))
    first.call(lambda tx: tx.do("INSERT INTO things VALUES ('a', 0)"))
    second = Store(postgres_db, claim=False)
    yield first, second
    second.close()
    first.close()


@pytest.fixture
def bytes_db(postgres_server):
    """The URL of a database as `initdb` makes it without LANG."""
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        kind = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        admin.execute(f"CREATE DATABASE bytes {kind}")
        yield urlsplit(postgres_server)._replace(path="/bytes").geturl()
        admin.execute("DROP DATABASE bytes")


def test_a_database_without_an_encoding_holds_text(bytes_db):
    for _ in range(2):  # to the second store the database is not new
        store = Store(bytes_db)
        store.call(lambda tx: tx.do("INSERT INTO meta VALUES (?, ?)", "naïve", "é"))
        row = store.call(lambda tx: tx.one("SELECT value FROM meta WHERE name = ?", "naïve"))
        assert row["value"] == "é"
        store.call(lambda tx: tx.do("DELETE FROM meta WHERE name = ?", "naïve"))
        store.close()


def count(tx):
    worth = tx.number("SELECT worth FROM things WHERE name = 'a'")
    tx.do("UPDATE things SET worth = ? WHERE name = 'a'", worth + 1)


def worth(tx):
    return tx.number("SELECT worth FROM things WHERE name = 'a'")


def test_two_processes_share_one_queue(stores):
    threads = [
        threading.Thread(target=lambda s=store: [s.call(count) for _ in range(200)])
        for store in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores[0].call(worth) == 400


def cut_connections(url):
    """Cut all other connections of this URL."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND application_name = current_setting('application_name')"
        )


def test_a_lost_connection_is_reopened(stores, postgres_db):
    cut_connections(postgres_db)
    for store in stores:
        store.call(count)
    assert stores[0].call(worth) == 2
    with pytest.raises(RuntimeError, match="another marketplace"):
        Store(postgres_db)


def test_a_connection_lost_before_the_commit_is_retried(stores, postgres_db):
    cuts = []

    def work(tx):
        count(tx)
        if not cuts:
            cuts.append(cut_connections(postgres_db))
        return worth(tx)

    assert stores[1].call(work) == 1
    assert stores[0].call(worth) == 1


def test_a_connection_lost_twice_is_an_error(stores, postgres_db):
    def work(tx):
        cut_connections(postgres_db)
        count(tx)

    with pytest.raises(psycopg.OperationalError):
        stores[1].call(work)
    assert stores[0].call(worth) == 0


def test_a_transaction_undone_by_the_database_is_retried(stores):
    times = []

    def work(tx):
        times.append(1)
        count(tx)
        if len(times) < 3:
            # As PostgreSQL itself would raise it.
            tx.all("DO $$BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END$$")

    stores[0].call(work)
    assert (len(times), stores[0].call(worth)) == (3, 1)


def test_a_transaction_undone_too_often_is_an_error(stores):
    def work(tx):
        tx.all("DO $$BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END$$")

    with pytest.raises(psycopg.errors.DeadlockDetected):
        stores[0].call(work)


def test_a_reader_cannot_write(stores):
    import asyncio

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        asyncio.run(stores[0].read(count))


def test_a_reader_never_waits_for_a_writer(stores):
    import asyncio

    read, written = threading.Event(), []

    def work(tx):
        count(tx)
        written.append(read.wait(10))

    async def main():
        writing = stores[0].submit(work)
        seen = await stores[1].read(worth)
        read.set()
        await asyncio.wrap_future(writing)
        return seen

    assert asyncio.run(main()) == 0
    assert written == [True]


def test_an_unreachable_database_is_reported_without_its_password():
    with pytest.raises(OSError, match="can't use the database") as caught:
        Store("postgresql://me:hush-hush@127.0.0.1:1/nothing")
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(caught.value.__cause__)


def test_two_marketplaces_share_a_database_with_two_schemas(postgres_db, new_schema):
    one, two = Store(postgres_db), Store(new_schema())
    one.call(lambda tx: tx.do(TABLE))
    assert two.call(lambda tx: tx.number("SELECT COUNT(*) FROM meta")) == 0
    two.close()
    one.close()


def test_a_failed_commit_raises_for_all_and_is_not_retried(stores):
    """The commit may have happened: a retry could write everything twice."""
    store, begun = stores[0], []
    store.call(
        lambda tx: tx.do(
            "CREATE TABLE parts (of TEXT REFERENCES things (name) DEFERRABLE INITIALLY DEFERRED)"
        )
    )

    def of(name):
        def work(tx):
            begun.append(name)
            return tx.do("INSERT INTO parts VALUES (?)", name)

        return work

    async def many():
        return await asyncio.gather(
            *(store.run(of(name)) for name in ("a", "nothing there", "a")), return_exceptions=True
        )

    assert [type(error) for error in asyncio.run(many())] == [
        psycopg.errors.ForeignKeyViolation
    ] * 3
    assert begun == ["a", "nothing there", "a"]
    assert store.call(lambda tx: tx.number("SELECT COUNT(*) FROM parts")) == 0
