"""The soak test finds a leak of each kind, and reports none where there is none."""

from typing import Any

import pytest

from benchmarks.soak import ROWS, grown, readers, soak
from tests.conftest import start_service
from tests.export.folders import torch_folder
from tests.faults.conftest import ask
from whyserve.export.build import export_all

# Ten times a second: memory, a file descriptor, a thread, and bytes in the state folder.
LEAK = """import os, threading, time
        if type(x) is torch.Tensor and not torch.compiler.is_exporting():
            kept, now = self.__dict__.setdefault("kept", []), time.monotonic()
            if now - self.__dict__.get("last", 0.0) > 0.1:
                self.__dict__["last"] = now
                kept.append((torch.ones(100_000), os.open("/dev/null", os.O_RDONLY)))
                with open("{file}", "ab") as file:
                    file.write(bytes(200_000))
                threading.Thread(target=threading.Event().wait, daemon=True).start()
        return self.layer(x)"""
SECONDS = 24
SMALL = ("--cache-mb", "1", "--keep-results-mb", "1")


def rows(name: str) -> Any:
    """Different rows each time, none of them special to the frail model."""

    def request(number: int) -> dict[str, Any]:
        many = [ask(1000.0 + number + row / 64, 1.0)["instances"][0] for row in range(ROWS[number % 3])]
        return {"model": name, "instances": many}

    return request


@pytest.mark.faults
def test_a_short_soak_is_flat(start, tmp_path):
    service = start(*SMALL)
    seen, count, _ = soak(service.address, readers(service.process.pid, tmp_path / "q", 1), rows("frail"), SECONDS)
    assert count > 20
    assert {name: grown(samples) for name, samples in seen.items()} == {"api": {}, "worker": {}, "store": {}}


@pytest.mark.faults
def test_planted_leaks_are_found(tmp_path):
    models, artifacts, state = tmp_path / "models", tmp_path / "artifacts", tmp_path / "q"
    state.mkdir(mode=0o700)
    torch_folder(models, "leaky", LEAK.format(file=state / "left"))
    export_all(models, artifacts, 20, lambda _: None)
    service = start_service(artifacts, state, *SMALL, models=models)
    try:
        address = service.address  # the worker runs now
        (state / "left").write_bytes(bytes(41 << 20))  # the queue's allowance is used up
        seen, _, _ = soak(address, readers(service.process.pid, state, 1), rows("leaky"), SECONDS)
    finally:
        assert service.stop() == 0, service.output
    assert set(grown(seen["worker"])) == {"memory", "descriptors", "threads"}
    assert grown(seen["api"]) == {}
    assert set(grown(seen["store"])) == {"bytes"}
