"""The store on both databases: retention, backup, versions."""

import sqlite3

import numpy as np
import pytest

from tests.record.postgres import FOLDERS, postgres
from whyserve.errors import ConfigurationError, RecordUnavailable, UnknownPrediction
from whyserve.record.chain import Chain, now_us
from whyserve.record.content import Content
from whyserve.record.erasure import erase, purge, time_to_keep
from whyserve.record.store import Store
from whyserve.record.verify import verify


@pytest.fixture(scope="module")
def database():
    if not FOLDERS:
        pytest.skip("PostgreSQL is not installed")
    with postgres() as running:
        yield running.address


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    if request.param == "sqlite":
        opened = Store.open(f"sqlite:///{tmp_path}/record.sqlite3")
    else:
        opened = Store.open(request.getfixturevalue("database"))
    yield opened
    opened.close()


def add(store: Store, chain: Chain, count: int, *, time: int, model: str = "wine") -> list[str]:
    content = Content(
        b'{"instances": [{"a": 1}, {"a": 2}]}', b'{"predictions": [1, 2]}', arrays={"x": np.eye(2)}
    ).pack()
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
    with pytest.raises(UnknownPrediction, match="no row 2"):
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
    total = next(each.bytes for each in store.chains() if each.writer == chain.writer)
    before = time_to_keep(store, sum(each.bytes for each in store.chains()) - total // 2)
    assert before is not None
    assert start + 45 <= before <= start + 55
    assert time_to_keep(store, 1 << 40) is None


def test_a_backup_that_was_restored_verifies(tmp_path):
    store, chain = Store.open(f"sqlite:///{tmp_path}/record.sqlite3"), Chain()
    made = add(store, chain, 5, time=now_us())
    with sqlite3.connect(tmp_path / "record.sqlite3") as db, sqlite3.connect(tmp_path / "backup.sqlite3") as backup:
        db.backup(backup)
    db.close()
    backup.close()
    add(store, chain, 5, time=now_us())
    store.close()
    restored = Store.open(f"sqlite:///{tmp_path}/backup.sqlite3")
    assert restored.find(made[-1]).head["seq"] == 5
    assert not list(verify(restored))
    restored.close()


def test_a_record_of_a_later_version_is_refused(tmp_path):
    place = f"sqlite:///{tmp_path}/record.sqlite3"
    Store.open(place).close()
    with sqlite3.connect(tmp_path / "record.sqlite3") as db:
        db.execute("UPDATE facts SET value = '99' WHERE name = 'version'")
    db.close()
    with pytest.raises(ConfigurationError, match="later version"):
        Store.open(place)


def test_an_older_record_is_migrated(tmp_path, monkeypatch):
    place, chain = f"sqlite:///{tmp_path}/record.sqlite3", Chain()
    store = Store.open(place)
    (made, *_) = add(store, chain, 1, time=now_us())
    store.close()
    monkeypatch.setattr("whyserve.record.schema.VERSION", 2)
    monkeypatch.setattr("whyserve.record.schema.MIGRATIONS", {1: ["ALTER TABLE builds ADD COLUMN size BIGINT"]})
    store = Store.open(place)
    assert store.find(made).head["id"] == made
    store.close()
    Store.open(place).close()  # the step is not taken twice


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
        Store.open(address)


def test_no_message_has_the_password():
    with pytest.raises(RecordUnavailable) as raised:
        Store.open("postgresql://me:s3cret@127.0.0.1:1/record")
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
        Store.open(f"sqlite:///{tmp_path}/wrong.sqlite3", create=False)
    assert not list(tmp_path.iterdir())
