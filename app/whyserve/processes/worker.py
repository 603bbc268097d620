"""The worker process: computes explanations on the original networks."""

import gc
import os
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue

import torch

from whyserve.delivery.direct_source import DirectSource
from whyserve.explain.allocator import keep_freed_memory
from whyserve.explain.game.device import open_device
from whyserve.explain.models.registry import ModelRegistry
from whyserve.explain.worker.worker import Worker
from whyserve.jobs import new_id
from whyserve.processes.healthcheck import Heartbeat
from whyserve.processes.loading import reported
from whyserve.processes.metrics import serve_metrics
from whyserve.processes.parent import stop_with_parent
from whyserve.processes.priority import lower_priority
from whyserve.queues.factory import open_source, open_transports
from whyserve.settings import WorkerSettings
from whyserve.telemetry.logs import configure
from whyserve.telemetry.setup import open_tracer

# An API may send the jobs of so many passes: the next ones arrive while the first ones are computed.
PASSES = 2


def main(settings: WorkerSettings) -> None:
    """Explain until SIGTERM or SIGINT, then finish the jobs in work. Raises WhyserveError if it cannot start."""
    configure("worker", settings.log_level)
    serve_metrics(settings)
    lower_priority(settings.nice)
    torch.set_num_threads(settings.worker_threads)
    keep_freed_memory()
    # The device and the queue before the models, which take seconds to load: their errors are then reported at once.
    device = open_device(settings.device)
    owner = os.environ.get("WHYSERVE_OWNER") or f"{os.getpid()}-{new_id()[:8]}"
    source = open_source(settings, owner)
    direct = DirectSource(open_transports(settings), owner, PASSES * settings.batch_jobs)
    each = reported("worker")
    models = ModelRegistry(settings.models, settings.artifacts, settings.memory_mb << 20, each, device)
    spans = open_tracer("worker")
    worker = Worker(
        source,
        direct,
        models,
        batch_jobs=settings.batch_jobs,
        lease_s=settings.lease_s,
        alive=Heartbeat(settings.health_file) if settings.health_file else lambda: None,
        spans=spans,
    )
    gc.freeze()  # no collection visits the networks
    stop_on_signal(worker.stop)
    stop_with_parent()
    try:
        worker.run()
    finally:
        if spans:
            spans.close()


def stop_on_signal(stop: Callable[[], None]) -> None:
    """Call `stop` at SIGTERM or SIGINT, in a thread: a handler must not wait for a lock that the main thread holds."""
    asked: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: asked.put(received))

    def await_signal() -> None:
        asked.get()
        stop()

    threading.Thread(target=await_signal, name="stop", daemon=True).start()
