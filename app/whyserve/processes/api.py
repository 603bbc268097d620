"""The API process: HTTP in front of ONNX Runtime, on one event loop."""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
from types import FrameType

import uvicorn

from whyserve.api.app import create_app, with_cors
from whyserve.api.middleware.otel import TracedApp
from whyserve.api.promotion import LAST_SHARE
from whyserve.api.server.connection import MAX_CONNECTIONS, connection_factory
from whyserve.api.server.timeouts import TimeoutSweep
from whyserve.api.state import Service
from whyserve.delivery.unix_server import socket_folder
from whyserve.jobs import new_id
from whyserve.onnx.session import use_providers
from whyserve.predict.catalog import load_catalog
from whyserve.processes.listening import check_exposure, listen
from whyserve.processes.loading import reported
from whyserve.processes.parent import stop_with_parent
from whyserve.queues.factory import open_queue, open_source
from whyserve.settings import ApiSettings, listed
from whyserve.telemetry.logs import configure
from whyserve.telemetry.setup import open_tracer

log = logging.getLogger("whyserve.api")

# Connections are checked for timeouts every so many ticks of uvicorn. A tick is a tenth of a second.
SWEEP_TICKS = 5
# File descriptors: the connections, and 200 for model files, the queue and standard streams.
FILES = MAX_CONNECTIONS + 200


class Server(uvicorn.Server):
    """uvicorn with a shutdown in three steps.

    1. /health/ready answers 503, and all other requests are still served for shutdown_delay_s: a load balancer needs
       this time to notice.
    2. No request is accepted any more. Requests in flight have drain_s to finish.
    3. Near the end of drain_s, requests that wait for an explanation are answered 202 with its address.
    """

    def __init__(self, config: uvicorn.Config, service: Service, drain_s: float) -> None:
        super().__init__(config)
        self._service, self._patience_s = service, (1 - LAST_SHARE) * drain_s
        given = service.settings
        self._sweep = TimeoutSweep(given.read_timeout_s, given.write_timeout_s, given.keep_alive_s, SWEEP_TICKS / 10)

    async def on_tick(self, counter: int) -> bool:
        if counter % SWEEP_TICKS == 0:
            self._sweep(self.server_state.connections)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # A signal may arrive at any point of the loop, so all work is handed to the loop. Ctrl-C and a second signal
        # skip the delay.
        again = self._service.shutting_down.is_set()
        delay_s = 0.0 if again or sig == signal.SIGINT else self._service.settings.shutdown_delay_s
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(self._service.shutting_down.set)
        loop.call_soon_threadsafe(loop.call_later, delay_s, super().handle_exit, sig, frame)
        loop.call_soon_threadsafe(loop.call_later, delay_s + self._patience_s, self._service.release_waiters.set)


def main(settings: ApiSettings, listening: socket.socket | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight. Raises WhyserveError if it cannot start.

    listening: an open socket to use instead of a new one.
    """
    configure("api", settings.log_level)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises the signal again at its end
    stop_with_parent()
    check_exposure(settings)
    with contextlib.suppress(OSError):  # with Redis, the folder may be read-only
        socket_folder(settings.state)
    _allow_files(FILES)
    listening = listening or listen(settings.host, settings.port)
    use_providers(listed(settings.providers))
    catalog = load_catalog(settings.artifacts, settings.threads, reported("api"))
    for predictor in catalog.all:
        if settings.providers:
            log.info("%s: ONNX Runtime uses %s", predictor.spec.name, ", ".join(predictor.accelerators) or "the CPU")
    spans = open_tracer("api")
    service = Service(
        settings, catalog, open_queue(settings), lambda: open_source(settings, f"api-{new_id()[:12]}"), spans
    )
    app = with_cors(create_app(service), listed(settings.cors_origins))
    config = uvicorn.Config(
        TracedApp(app, spans) if spans else app,
        loop="uvloop",
        http=connection_factory(),  # type: ignore[arg-type]  # uvicorn only calls it
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.drain_s),
    )
    gc.freeze()  # no collection visits the libraries and the models
    try:
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises SIGINT again too
            Server(config, service, settings.drain_s).run(sockets=[listening])
    finally:
        if spans:
            spans.close()


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
