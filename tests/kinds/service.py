"""A service for the models of a test module."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conftest import start_service
from whyserve.export.build import export_all
from whyserve.model.methods import BUDGET_MS


@contextmanager
def client_of(root: Path) -> Iterator[httpx.Client]:
    """A client of a service that serves root/models, exported here."""
    export_all(root / "models", root / "artifacts", BUDGET_MS, lambda _: None)
    service = start_service(root / "artifacts", root / "state", models=root / "models")
    try:
        with service.client() as client:
            yield client
    finally:
        code = service.stop()
    assert code == 0, service.output
