"""Clients of the protocol that others wrote, on the service that all tests share."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import np_to_triton_dtype

from app.inputs import Arrays, RowReader
from app.manifest import read_manifest
from tests.conftest import ROOT, Running, example


@pytest.fixture(scope="session")
def triton(service: Running) -> Iterator[Any]:
    client = tritonclient.http.InferenceServerClient(service.address.removeprefix("http://"), network_timeout=60)
    yield client
    client.close()


def rows_of(name: str) -> Arrays:
    """A model's example request as the network's own inputs."""
    manifest, _ = read_manifest(ROOT / "artifacts" / name)
    return RowReader(manifest.spec)(example(name)["instances"])


def inputs_of(arrays: Arrays, *, binary: bool = True) -> list[Any]:
    """As tritonclient takes them."""
    made = []
    for name, array in arrays.items():
        tensor = tritonclient.http.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(array), binary_data=binary)
        made.append(tensor)
    return made
