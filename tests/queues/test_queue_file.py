"""A queue file that is damaged, deleted or on a full disk: the queue goes on with a new file, or as soon as it can."""

import logging
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.queues.conftest import DIGEST, job
from whyserve.errors import ConfigurationError, Unavailable, UnknownExplanation
from whyserve.queue_protocols import JobSource
from whyserve.queues.queue_file import DAMAGED, QUEUE_FILE
from whyserve.queues.store import Store
from whyserve.queues.terms import Terms

TERMS = Terms(100, 60.0, 10.0, 64 << 20)
MANY = 300


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database, and longer than the header of one " * 10)


def one_page(path: Path) -> None:
    """Damage the last page of the jobs' table only."""
    with path.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"\xa5" * 4096)


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(0)


def filled(state: Path) -> list[str]:
    """A closed queue with many unfinished jobs. Returns their ids."""
    with closing(Store(state, TERMS)) as store:
        ids = [store.submit(job()) for _ in range(3)]
        with store._transaction() as db:
            db.executemany(
                "INSERT INTO jobs (id, batch_key, digest, expected) VALUES (?, hex(zeroblob(450)), 'd', 0)",
                [(f"filler-{number}",) for number in range(MANY)],
            )
    return ids


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def until_it_works(store: Store) -> str:
    """Submit a job. The call that meets the damage is refused; the next one uses the new file."""
    try:
        return store.submit(job())
    except Unavailable:
        return store.submit(job())


@pytest.mark.parametrize("damage", [garbage, one_page], ids=lambda each: each.__name__)
def test_a_damaged_file_is_set_aside_and_a_new_queue_is_used(damage, tmp_path, caplog):
    old = filled(tmp_path)
    damage(tmp_path / QUEUE_FILE)
    with closing(Store(tmp_path, TERMS)) as store:
        if damage is one_page:
            with pytest.raises(Unavailable):
                _ = [store.state(f"filler-{number}") for number in range(MANY)]
        new = until_it_works(store)
        assert store.state(new).status == "queued"
        assert store.depth() == 1
        for gone in old:
            with pytest.raises(UnknownExplanation):
                store.state(gone)
    (line,) = errors_in(caplog)
    assert f"renamed to {DAMAGED}, and a new queue was created" in line
    readable = int(line.partition("can still be read in it: ")[2].partition(".")[0])
    assert readable == 0 if damage is garbage else 0 < readable < MANY + 3
    assert (tmp_path / DAMAGED).exists()


@pytest.mark.parametrize("damage", [garbage, truncated], ids=lambda each: each.__name__)
def test_processes_that_share_a_file_all_go_on_with_the_same_new_one(damage, tmp_path, caplog):
    filled(tmp_path)
    with closing(Store(tmp_path, TERMS)) as api, closing(Store(tmp_path, TERMS)) as supervisor:
        worker = JobSource(Store(tmp_path, TERMS), "w1")
        worker.announce([DIGEST])
        with sqlite3.connect(tmp_path / QUEUE_FILE) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        damage(tmp_path / QUEUE_FILE)
        new = until_it_works(api)
        worker.renew()
        assert [record.owner for record in supervisor.workers()] == ["w1"]
        (lease,) = worker.take(5)
        assert lease.job.id == new
        assert worker.finish(lease, b"{}")
        worker.close()
        assert api.state(new).status == "done"
    with closing(Store(tmp_path, TERMS)) as later:
        assert later.state(new).status == "done"
    assert len(errors_in(caplog)) == 1
    assert len(list(tmp_path.glob(f"{DAMAGED}"))) == 1


def test_a_job_that_is_not_what_was_written_is_damage(tmp_path):
    """Its worker would end at each delivery."""
    with closing(Store(tmp_path, TERMS)) as store:
        store.submit(job())
        with store._transaction() as db:
            db.execute("UPDATE contents SET body = zeroblob(900)")
        with pytest.raises(Unavailable):
            store.take("w1", [DIGEST], 5)
        assert store.take("w1", [DIGEST], 5) == []


def test_a_deleted_file_is_noticed(tmp_path):
    with closing(Store(tmp_path, TERMS)) as api, closing(Store(tmp_path, TERMS)) as worker:
        first = api.submit(job())
        for path in tmp_path.glob(f"{QUEUE_FILE}*"):
            path.unlink()
        second = until_it_works(worker)
        assert api.state(second).status == "queued"
        with pytest.raises(UnknownExplanation):
            api.state(first)


def test_a_second_damaged_file_does_not_replace_the_first(tmp_path):
    for _ in range(2):
        garbage(tmp_path / QUEUE_FILE)
        Store(tmp_path, TERMS).close()
    assert (tmp_path / DAMAGED).exists()
    assert (tmp_path / f"{DAMAGED}.2").exists()


@pytest.fixture
def no_space():
    """Like a full disk, this limit fails every write of this process that makes a file longer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("exists", [True, False])
def test_a_queue_is_opened_on_a_full_disk_and_works_when_there_is_space(exists, tmp_path, request):
    if exists:
        Store(tmp_path, TERMS).close()
    free = request.getfixturevalue("no_space")
    store = Store(tmp_path, TERMS)
    for call in (lambda: store.submit(job()), store.workers, lambda: store.release("w1"), store.release_all):
        with pytest.raises(Unavailable):
            call()
    free()
    assert store.state(store.submit(job())).status == "queued"
    store.close()


def test_a_folder_that_cannot_be_written_is_an_error_of_the_setting(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"WHYSERVE_STATE: cannot open a queue in .*make the folder writable"):
        Store(tmp_path / "file" / "state", TERMS)
