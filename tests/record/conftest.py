"""A service with a record and keys, and a database for each test."""

import uuid

import psycopg
import pytest

from tests.conftest import some, start_service
from tests.record.postgres import FOLDERS, postgres
from whyserve.api.middleware.keys import fresh
from whyserve.record.store import Store

KEYS = {name: fresh(name, scopes.split(",")) for name, scopes in (
    ("desk", "predict,explain"), ("other", "explain"), ("audit", "record,explain"), ("officer", "erase"),
)}  # fmt: skip


def by(name: str) -> dict[str, str]:
    return {"X-API-Key": KEYS[name][0]}


def post(client, path, body, name="desk"):
    return client.post(path, json=body, headers=by(name))


@pytest.fixture(scope="package")
def desk_place(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('record')}/record.sqlite3"


@pytest.fixture(scope="package")
def desk(artifacts, desk_place, tmp_path_factory):
    lines = ";".join(line for _, line in KEYS.values())
    settings = {"WHYSERVE_RECORD": desk_place, "WHYSERVE_RECORD_SYNC": "true", "WHYSERVE_KEYS": lines}
    names = ("digits", "linear", "penguins", "places", "wine")
    models, artifacts = some(artifacts, tmp_path_factory.mktemp("some"), *names)
    running = start_service(artifacts, tmp_path_factory.mktemp("state"), models=models, **settings)
    running.await_line("ready on ")
    with running.client() as client:
        yield client
    assert running.stop() == 0, running.output
    assert not any(secret in running.output for secret, _ in KEYS.values())


@pytest.fixture(scope="package")
def database():
    """A PostgreSQL that runs."""
    if not FOLDERS:
        pytest.skip("PostgreSQL is not installed")
    with postgres() as running:
        yield running


def new_database(database) -> str:
    """The address of an empty database."""
    name = f"d{uuid.uuid4().hex}"
    with psycopg.connect(database.address, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
    address: str = database.address.rpartition("/")[0]
    return f"{address}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    """The address of an empty record."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/record.sqlite3"
    return new_database(request.getfixturevalue("database"))


@pytest.fixture
def store(address):
    opened = Store(address)
    yield opened
    opened.close()
