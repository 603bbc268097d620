"""Every change of a stored record is found."""

import random
import sqlite3
from pathlib import Path

import pytest

from whyserve.record.chain import Chain, now_us
from whyserve.record.content import Content
from whyserve.record.erasure import erase, purge
from whyserve.record.store import Store
from whyserve.record.verify import verify

COLUMNS = ("id", "time", "kind", "model", "manifest", "caller", "about", "head", "hash", "salt", "content")


def fill(path: Path, chains: int = 2, records: int = 12) -> None:
    """Chains of decisions, an erasure, a purge and checkpoints."""
    store = Store(f"sqlite:///{path}")
    made = [Chain() for _ in range(chains)]
    known: dict[str, int] = {}
    start = now_us()
    for number in range(records):
        for chain in made:
            content = Content(body=b'{"instances": [%d]}' % number, answer=b'{"predictions": [1]}').pack()
            facts = {"model": "wine", "manifest": "m", "caller": "me", "rows": 1, "about": None}
            store.append(chain, [chain.add("prediction", content, time=start + number, **facts)])
    purge(store, made[0], start + 3)
    first = store.heads(limit=1)[0]["id"]
    assert erase(store, made[1], first, None, "me") == 1
    for chain in made:
        store.checkpoint(chain, known)
    assert not list(verify(store))
    store.close()


def tamper(db: sqlite3.Connection, way: str, pick: random.Random) -> None:
    places = db.execute("SELECT writer, seq FROM records ORDER BY writer, seq").fetchall()
    writer, seq = pick.choice(places)
    where = "WHERE writer = ? AND seq = ?"
    if way == "flip":
        row = db.execute(f"SELECT {', '.join(COLUMNS)} FROM records {where}", (writer, seq)).fetchone()
        name, value = pick.choice([(n, v) for n, v in zip(COLUMNS, row, strict=True) if v is not None])
        if isinstance(value, int):
            changed: object = value ^ (1 << pick.randrange(40))
        else:
            block = bytearray(value if isinstance(value, bytes) else value.encode())
            block[pick.randrange(len(block))] ^= 1 << pick.randrange(7)
            changed = bytes(block) if isinstance(value, bytes) else block.decode()
        db.execute(f"UPDATE records SET {name} = ? {where}", (changed, writer, seq))
    elif way == "remove":
        db.execute(f"DELETE FROM records {where}", (writer, seq))
    elif way == "add":
        columns = ", ".join(COLUMNS[1:])
        (last,) = db.execute("SELECT max(seq) FROM records WHERE writer = ?", (writer,)).fetchone()
        db.execute(
            f"INSERT INTO records (writer, seq, id, {columns}) SELECT writer, ?, 'new', {columns} FROM records {where}",
            (last + 1, writer, seq),
        )
    else:
        _, other = pick.choice([each for each in places if each[0] == writer and each[1] != seq])
        for old, new in ((seq, -1), (other, seq), (-1, other)):
            db.execute(f"UPDATE records SET seq = ? {where}", (new, writer, old))


def found_of(source: Path, copy: Path, way: str, seeds: range) -> int:
    """How many changes are found, each in a fresh copy."""
    found = 0
    for seed in seeds:
        copy.write_bytes(source.read_bytes())
        with sqlite3.connect(copy) as db:
            db.execute("PRAGMA journal_mode=DELETE")
            tamper(db, way, random.Random(seed))
        db.close()
        store = Store(f"sqlite:///{copy}")
        found += bool(list(verify(store)))
        store.close()
        for ending in ("-wal", "-shm"):
            copy.with_name(copy.name + ending).unlink(missing_ok=True)
    return found


@pytest.mark.parametrize("way", ["flip", "remove", "add", "reorder"])
@pytest.mark.parametrize("count", [25, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_change_is_found(way, count, tmp_path):
    fill(tmp_path / "record.sqlite3")
    assert found_of(tmp_path / "record.sqlite3", tmp_path / "copy.sqlite3", way, range(count)) == count


def test_a_cut_end_is_found_by_another_chain_or_a_second_store(tmp_path):
    path = tmp_path / "record.sqlite3"
    store = Store(f"sqlite:///{path}")
    one, other = Chain(), Chain()
    for _ in range(3):
        store.append(one, [one.add("prediction", b"1")])
    line = {"writer": one.writer, "seq": one.seq, "hash": one.last, "chains": {}}
    store.checkpoint(other, {})
    with sqlite3.connect(path) as db:  # with its row of the table of chains, as somebody who knows the tables would
        last = db.execute("SELECT hash FROM records WHERE writer = ? AND seq = 2", (one.writer,)).fetchone()
        db.execute("DELETE FROM records WHERE writer = ? AND seq = 3", (one.writer,))
        db.execute("UPDATE chains SET seq = 2, hash = ? WHERE writer = ?", (*last, one.writer))
    db.close()
    assert [(each.writer, each.seq) for each in verify(store)] == [(one.writer, 3)]
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM records WHERE writer = ?", (other.writer,))
        db.execute("DELETE FROM chains WHERE writer = ?", (other.writer,))
    db.close()
    assert not list(verify(store))
    assert [(each.writer, each.seq) for each in verify(store, [line])] == [(one.writer, 3)]
    store.close()
