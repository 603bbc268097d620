"""The soak test finds a leak, and reports none where there is none."""

import pytest

from benchmarks.soak import children, grown, soak
from tests.conftest import start_service
from tests.export.folders import torch_folder
from tests.faults.conftest import ask
from whyserve.export.build import export_all

LEAK = """if type(x) is torch.Tensor and not torch.compiler.is_exporting():
            self.__dict__.setdefault("kept", []).append(torch.ones(50_000))
        return self.layer(x)"""
SECONDS = 24


def rows(name):
    """Different rows each time, none of them special to the frail model."""
    return lambda number: {**ask(1000.0 + number, 1.0), "model": name}


@pytest.mark.faults
def test_a_short_soak_is_flat(start):
    service = start("--cache-mb", "1")
    seen, count, _ = soak(service.address, children(service.process.pid), rows("frail"), SECONDS)
    assert count > 20
    assert {role: grown(samples) for role, samples in seen.items()} == {"api": {}, "worker": {}}


@pytest.mark.faults
def test_a_planted_leak_is_found(tmp_path):
    models, artifacts = tmp_path / "models", tmp_path / "artifacts"
    torch_folder(models, "leaky", LEAK)
    export_all(models, artifacts, 20, lambda _: None)
    service = start_service(artifacts, tmp_path / "q", "--cache-mb", "1", models=models)
    try:
        seen, _, _ = soak(service.address, children(service.process.pid), rows("leaky"), SECONDS)
    finally:
        assert service.stop() == 0, service.output
    assert set(grown(seen["worker"])) == {"memory"}
    assert grown(seen["api"]) == {}
