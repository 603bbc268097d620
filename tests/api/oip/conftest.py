"""Third-party clients of the protocol, on the shared service."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import np_to_triton_dtype

from tests.conftest import MODELS, ROOT, Running, example, some, start_service
from whyserve.model.manifest import read_manifest
from whyserve.model.rows import Arrays, RowReader
from whyserve.model.text import text_readers


@pytest.fixture(scope="session")
def triton(service: Running) -> Iterator[Any]:
    client = tritonclient.http.InferenceServerClient(service.address.removeprefix("http://"), network_timeout=60)
    yield client
    client.close()


@pytest.fixture(scope="session")
def narrow(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with a small body limit and a short wait."""
    flags = ["--max-body-mb", "1", "--explain-wait-s", "0.001"]
    models, artifacts = some(artifacts, tmp_path_factory.mktemp("some"), "digits", "linear")
    running = start_service(artifacts, tmp_path_factory.mktemp("narrow"), *flags, models=models)
    with running.client() as client:
        yield client
    assert running.stop() == 0, running.output


def rows_of(name: str) -> Arrays:
    """A model's example request as the network's own inputs."""
    spec = read_manifest(ROOT / "artifacts" / name)[0].spec
    texts = text_readers(spec, lambda file: (MODELS / name / file).read_bytes())
    return RowReader(spec, texts)(example(name)["instances"])


def inputs_of(arrays: Arrays, *, binary: bool = True) -> list[Any]:
    """As tritonclient takes them."""
    made = []
    for name, array in arrays.items():
        tensor = tritonclient.http.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(array), binary_data=binary)
        made.append(tensor)
    return made
