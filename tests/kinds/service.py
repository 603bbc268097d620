"""A service for the models of a test module."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conftest import start_service


@contextmanager
def client_of(root: Path) -> Iterator[httpx.Client]:
    """A client of a service that exports and serves root/models."""
    service = start_service(root / "artifacts", root / "state", models=root / "models")
    try:
        with service.client() as client:
            yield client
    finally:
        code = service.stop()
    assert code == 0, service.output
