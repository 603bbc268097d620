"""The store on both databases: retention, backup, versions."""

import json
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.record.conftest import new_database
from tests.record.postgres import FOLDERS
from whyserve.errors import ConfigurationError, RecordUnavailable, UnknownPrediction
from whyserve.record.chain import Chain, now_us
from whyserve.record.content import Content
from whyserve.record.erasure import erase, purge, time_to_keep
from whyserve.record.store import Store
from whyserve.record.upkeep import Upkeep
from whyserve.record.verify import verify
from whyserve.settings import ApiSettings

BODY = b'{"instances": [{"a": 1}, {"a": 2}]}'


def add(store: Store, chain: Chain, count: int, *, time: int, model: str = "wine", body: bytes = BODY) -> list[str]:
    content = Content(body, b'{"predictions": [1, 2]}', arrays={"x": np.eye(2)}).pack()
    facts = {"model": model, "manifest": f"{model}-m", "caller": "me", "rows": 2, "about": None}
    made = [chain.add("prediction", content, time=time + number, **facts) for number in range(count)]
    store.append(chain, made)
    return [each["id"] for each in made]


def test_records_are_kept_erased_purged_and_verified(store):
    one, other, start = Chain(), Chain(), now_us()
    first, second, *_ = add(store, one, 10, time=start)
    add(store, other, 10, time=start + 5, model="digits")
    assert store.builds() == {"wine-m": "wine", "digits-m": "digits"}
    assert store.find(first).content.arrays["x"].tolist() == np.eye(2).tolist()
    assert erase(store, one, second, 1, "me") == 1
    found = store.find(second)
    assert (found.erased, found.content.body) == ([1], b'{"instances":[{"a":1},null]}')
    assert found.content.arrays["x"].tolist()[0] == [1, 0]
    assert np.isnan(found.content.arrays["x"][1]).all()
    with pytest.raises(UnknownPrediction, match="rows 0 to 1"):
        erase(store, one, second, 2, "me")
    store.checkpoint(one, {})
    assert not list(verify(store))
    # The first chain's decisions go, with the build that only they name.
    assert purge(store, other, start + 10) == 10 + 5
    assert not list(verify(store))
    assert store.builds() == {"digits-m": "digits"}
    with pytest.raises(UnknownPrediction):
        store.find(first)
    # A purge keeps the anchors of the one before it.
    assert purge(store, other, start + 12) == 2
    assert not list(verify(store))
    assert purge(store, other, now_us()) > 0
    assert not list(verify(store))
    assert store.resume(other.writer).last == other.last


def test_the_oldest_records_go_first_by_size(store):
    chain, start = Chain(), now_us() - 10**9
    add(store, chain, 100, time=start, model=f"sized{start}")
    (total,) = (each.bytes for each in store.chains())
    before = time_to_keep(store, total // 2)
    assert before is not None
    assert start + 45 <= before <= start + 55
    assert time_to_keep(store, 1 << 40) is None


@pytest.mark.parametrize("limit", [{"record_keep_days": 1}, {"record_keep_mb": 1}], ids=["time", "size"])
def test_what_is_too_old_or_too_much_goes_at_the_next_checkpoint(limit, store, tmp_path):
    day, chain = 86_400 * 10**6, Chain()
    old = add(store, chain, 10, time=now_us() - 2 * day, body=b"x" * (1 << 17))
    new = add(store, chain, 10, time=now_us() - day // 2)
    upkeep = Upkeep(ApiSettings(record_checkpoints=tmp_path / "checkpoints", **limit))
    upkeep(store, chain)
    kept = [each["id"] for each in store.heads(limit=100)]
    assert kept == (new if "record_keep_days" in limit else [*old[-len(kept) + 10 :], *new])
    assert 10 <= len(kept) < 18
    assert sum(each.bytes for each in store.chains()) <= 1 << 20
    lines = (tmp_path / "checkpoints").read_text().split("\n")
    assert json.loads(lines[1])["chains"][chain.writer][0] == chain.seq - 1
    assert not list(verify(store))
    upkeep(store, chain)
    assert [each["id"] for each in store.heads(limit=100)] == kept


def test_a_backup_that_was_restored_verifies(tmp_path):
    store, chain = Store(f"sqlite:///{tmp_path}/record.sqlite3"), Chain()
    made = add(store, chain, 5, time=now_us())
    with sqlite3.connect(tmp_path / "record.sqlite3") as db, sqlite3.connect(tmp_path / "backup.sqlite3") as backup:
        db.backup(backup)
    db.close()
    backup.close()
    add(store, chain, 5, time=now_us())
    store.close()
    restored = Store(f"sqlite:///{tmp_path}/backup.sqlite3")
    assert restored.find(made[-1]).head["seq"] == 5
    assert not list(verify(restored))
    restored.close()


def test_a_dump_of_postgresql_that_was_restored_verifies(database, tmp_path):
    source, target, chain = new_database(database), new_database(database), Chain()
    store = Store(source)
    made = add(store, chain, 5, time=now_us())
    assert erase(store, chain, made[1], 0, "me") == 1
    line = {"writer": chain.writer, "seq": chain.seq, "hash": chain.last, "chains": {}}
    for program, place, *more in (("pg_dump", source, "-f"), ("psql", target, "-q", "-v", "ON_ERROR_STOP=1", "-f")):
        subprocess.run([FOLDERS[-1] / program, "-d", place, *more, tmp_path / "dump.sql"], check=True)
    add(store, chain, 1, time=now_us())
    store.close()
    restored = Store(target, create=False)
    content = restored.find(made[1]).content
    assert content is not None
    assert content.arrays["x"].tolist()[1] == [0, 1]
    assert not list(verify(restored, [line]))
    # It shows what it lacks, and goes on where it ends.
    assert [fault.seq for fault in verify(restored, [{**line, "seq": chain.seq, "hash": chain.last}])] == [7]
    add(restored, restored.resume(chain.writer), 2, time=now_us())
    assert not list(verify(restored, [line]))
    assert restored.builds() == {"wine-m": "wine"}
    restored.close()


def test_a_record_of_a_later_version_is_refused(address, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr("whyserve.record.schema.VERSION", 99)
        Store(address).close()
    with pytest.raises(ConfigurationError, match="later version"):
        Store(address)


def test_an_older_record_is_migrated(address, monkeypatch):
    chain = Chain()
    store = Store(address)
    (made, *_) = add(store, chain, 1, time=now_us())
    store.close()
    steps = {1: ["ALTER TABLE builds ADD COLUMN size BIGINT"], 2: ["UPDATE builds SET size = 7"]}
    monkeypatch.setattr("whyserve.record.schema.VERSION", 3)
    monkeypatch.setattr("whyserve.record.schema.MIGRATIONS", steps)
    # Several processes start at once.
    with ThreadPoolExecutor(3) as pool:
        opened = list(pool.map(Store, [address] * 3))
    with opened[0].transaction() as db:
        assert db.exec_driver_sql("SELECT size FROM builds").all() == [(7,)]
        assert db.exec_driver_sql("SELECT value FROM facts WHERE name = 'version'").all() == [("3",)]
    assert opened[1].find(made).head["id"] == made
    add(opened[2], chain, 1, time=now_us())
    assert not list(verify(opened[0]))
    for store in opened:
        store.close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "is not an address"),
        ("mysql://a@b/c", "must be sqlite"),
        ("sqlite://", "must be sqlite"),
    ],
)
def test_an_invalid_address_is_refused(address, message):
    with pytest.raises(ConfigurationError, match=message):
        Store(address)


def test_no_message_has_the_password():
    with pytest.raises(RecordUnavailable) as raised:
        Store("postgresql://me:s3cret@127.0.0.1:1/record")
    assert "s3cret" not in raised.value.message


def test_a_record_is_verified_while_it_grows(store):
    chain, start = Chain(), now_us()
    add(store, chain, 5, time=start)
    with store.snapshot() as seen:
        ends = seen.chains()
        add(store, chain, 5, time=start)
        mine = [each for each in seen.every() if each.writer == chain.writer]
    assert [each.seq for each in ends if each.writer == chain.writer] == [len(mine)] == [5]
    assert not list(verify(store))


def test_a_missing_record_is_not_made_by_those_who_read_it(tmp_path):
    with pytest.raises(ConfigurationError, match="there is no decision record"):
        Store(f"sqlite:///{tmp_path}/wrong.sqlite3", create=False)
    assert not list(tmp_path.iterdir())
