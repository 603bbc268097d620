"""A queue that another version of Whyserve left: no job is lost silently, and none is read by this version."""

import asyncio
import logging
import multiprocessing
import sqlite3
import time
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import redis

from tests.queues.conftest import TERMS, job
from tests.queues.redis_server import RedisServer
from whyserve.jobs import JobStatus
from whyserve.queues.factory import open_queue, open_source
from whyserve.queues.queue_file import QUEUE_FILE
from whyserve.queues.store import Store
from whyserve.queues.terms import VERSION
from whyserve.settings import Settings

# The tables of version 4, the last one whose programs dropped other versions' tables.
VERSION_4 = """
PRAGMA journal_mode=WAL;
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  lane TEXT NOT NULL,          -- jobs of one lane may be computed together
  digest TEXT NOT NULL,        -- of the manifest that a worker needs
  body BLOB NOT NULL,
  caller TEXT,
  once TEXT UNIQUE,
  question TEXT,
  deadline REAL,
  status TEXT NOT NULL DEFAULT 'queued',
  progress REAL NOT NULL DEFAULT 0,
  standard_error REAL,
  deliveries INTEGER NOT NULL DEFAULT 0,  -- also the fence
  owner TEXT,
  lease_until REAL,
  result BLOB,
  error TEXT,
  finished REAL
);
CREATE TABLE line (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, lane TEXT NOT NULL,
  digest TEXT NOT NULL, tried INTEGER NOT NULL DEFAULT 0);
CREATE INDEX open ON jobs (deadline) WHERE finished IS NULL;
CREATE INDEX leased ON jobs (lease_until) WHERE status = 'running';
CREATE INDEX ended ON jobs (finished) WHERE finished IS NOT NULL;
CREATE TABLE figures (finished REAL NOT NULL, body TEXT NOT NULL);  -- of results that nobody has counted yet
CREATE TABLE workers (owner TEXT PRIMARY KEY, digests TEXT NOT NULL, alive_until REAL NOT NULL);
INSERT INTO jobs (id, lane, digest, body) VALUES ('accepted', 'd/auto', 'd', '{"id":"accepted","once":null}');
INSERT INTO line (id, lane, digest) VALUES ('accepted', 'd/auto', 'd');
INSERT INTO jobs (id, lane, digest, body, status, result, finished)
  VALUES ('old', 'd/auto', 'd', '{}', 'done', '{}', 1);
PRAGMA user_version=4;
"""
OTHER = "queue.sqlite3"


def version_4(state: Path) -> sqlite3.Connection:
    """A queue file of version 4, still open, with an accepted and a finished job."""
    state.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(state / OTHER, isolation_level=None)
    db.executescript(VERSION_4)
    return db


def jobs_in(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT id, status FROM jobs ORDER BY id").fetchall()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def submit_to(settings: Settings) -> int:
    """Submit a job to the queue of these settings; returns the queue's depth."""

    async def main() -> int:
        queue = open_queue(settings)
        given = job()
        assert await queue.submit(given) == given.id
        assert (await queue.state(given.id)).status is JobStatus.queued
        depth = await queue.depth()
        await queue.close()
        return depth

    return asyncio.run(main())


def test_a_queue_file_of_another_version_stays_and_is_reported_once(tmp_path, caplog):
    """Also while a program of that version uses it."""
    with closing(version_4(tmp_path)):
        for depth in (1, 2):
            assert submit_to(Settings(state=tmp_path)) == depth
    (line,) = warnings(caplog)
    assert f"{OTHER}: made by another version of Whyserve; this program uses {QUEUE_FILE}." in line
    assert "Unfinished explanations in it: 1;" in line
    assert jobs_in(tmp_path / OTHER) == [("accepted", "queued"), ("old", "done")]


def test_a_queue_of_this_version_is_opened_again_with_its_jobs(tmp_path, caplog):
    assert [submit_to(Settings(state=tmp_path)) for _ in range(3)] == [1, 2, 3]
    assert warnings(caplog) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [QUEUE_FILE, "queue.lock"]


def start(state: Path, together: Barrier) -> None:
    together.wait(30)
    store = Store(state, TERMS)
    store.submit(job())
    together.wait(30)
    # All processes wrote to one file.
    assert store.depth() == together.parties
    store.close()


@pytest.mark.parametrize("older", [True, False], ids=["version 4", "no file"])
def test_processes_that_start_together_use_one_new_file(older, tmp_path):
    context = multiprocessing.get_context("spawn")
    for attempt in range(3):
        state = tmp_path / str(attempt)
        if older:
            version_4(state).close()
        together = context.Barrier(3)
        started = [context.Process(target=start, args=(state, together)) for _ in range(3)]
        for process in started:
            process.start()
        for process in started:
            process.join(60)
        assert [process.exitcode for process in started] == [0, 0, 0]
        assert len(jobs_in(state / QUEUE_FILE)) == 3
        assert (state / OTHER).exists() == older


@pytest.fixture
def own_redis(tmp_path):
    server = RedisServer(tmp_path)
    yield server
    server.stop()


def test_redis_keys_of_an_older_version_are_not_read(own_redis):
    with redis.Redis.from_url(own_redis.url) as client:
        # As version 4 leaves an accepted job.
        client.hset("whyserve:job:accepted", mapping={"status": "queued", "lane": "d/auto", "body": "{}", "once": ""})
        client.xgroup_create("whyserve:line:d/auto", "workers", "0", mkstream=True)
        client.xadd("whyserve:line:d/auto", {"id": "accepted"})
        client.sadd("whyserve:lanes", "d/auto")
        client.zadd("whyserve:open", {"accepted": time.time() + 60})
        client.set("whyserve:place", "1-0")
        before = {key: client.dump(key) for key in client.scan_iter()}

        settings = Settings(redis_url=own_redis.url)
        assert submit_to(settings) == 1
        source = open_source(settings, "w1")
        source.announce(["d"])
        assert source.take(5) == []
        source.close()

        after = {key: client.dump(key) for key in client.scan_iter()}
        assert before.items() <= after.items()
        new = after.keys() - before.keys()
        assert new
        assert all(key.startswith(f"whyserve:{VERSION}:".encode()) for key in new)
