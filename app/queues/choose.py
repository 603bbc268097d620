"""Which queue the settings mean. Only the processes' entry points ask."""

import os

from app.jobs import JobQueue, JobSource, new_id
from app.queues.embedded import EmbeddedQueue, EmbeddedSource, open_store
from app.queues.store import Store
from app.settings import Settings


def embedded_store(settings: Settings) -> Store:
    """Raises ConfigurationError."""
    return open_store(
        settings.state, depth=settings.queue_depth, keep_s=settings.keep_results_s, lease_s=settings.lease_s
    )


def open_queue(settings: Settings) -> JobQueue:
    """The API's side."""
    return EmbeddedQueue(settings.state, embedded_store(settings))


def open_source(settings: Settings, owner: str | None = None) -> JobSource:
    """The worker's side."""
    return EmbeddedSource(settings.state, embedded_store(settings), owner or f"{os.getpid()}-{new_id()[:8]}")
