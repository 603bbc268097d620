"""Ids of explanations that tell their age and owner."""

import stat
import time

import pytest

from whyserve.api.ids import KEY_FILE, Ids, read_secret
from whyserve.settings import Settings

IDS = Ids(b"s" * 32, 60)


def test_an_id_is_recognised_for_its_owner_alone():
    for owner in ("ann", None):
        own = IDS.new(owner)
        assert IDS.is_recent(own, owner)
        assert not any(IDS.is_recent(own, other) for other in ("ann", "bob", "None", "", None) if other != owner)


@pytest.mark.parametrize("given", ["", "nope", "0" * 32, "0" * 42, "12", "é" * 42])
def test_other_text_is_no_id(given):
    assert not IDS.is_recent(given, None)


def test_a_changed_id_and_one_of_another_service_are_not_recognised():
    own = IDS.new(None)
    assert not any(IDS.is_recent(own[:at] + f"{int(own[at], 16) ^ 1:x}" + own[at + 1 :], None) for at in range(42))
    assert not Ids(b"t" * 32, 60).is_recent(own, None)


def test_an_id_is_recognised_for_a_time(monkeypatch):
    own, now = IDS.new("ann"), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 58)
    assert IDS.is_recent(own, "ann")
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert not IDS.is_recent(own, "ann")


def test_all_apis_of_a_queue_have_one_secret(tmp_path):
    here, there = Settings(state=tmp_path / "a"), Settings(state=tmp_path / "b")
    assert read_secret(here) == read_secret(here) != read_secret(there)
    file = tmp_path / "a" / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [KEY_FILE]
    first, second = ("redis://u:one@a:1", "redis://u:one@b:2"), ("redis://u:two@a:1", "redis://a:1")
    secrets = [read_secret(Settings(state=tmp_path, redis_url=url)) for url in (*first, *second)]
    assert secrets[0] == secrets[1]
    assert len(set(secrets)) == 3


def test_a_secret_that_cannot_be_stored_is_one_of_this_process(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    nowhere = Settings(state=tmp_path / "file" / "state")
    first, second = read_secret(nowhere), read_secret(nowhere)
    assert len(first) == len(second) == 32
    assert first != second
    assert "ids.key: cannot be used: Not a directory" in caplog.text
