"""The API process: HTTP in front of ONNX Runtime, on one event loop."""

import asyncio
import contextlib
import resource
import signal
import socket
import sys
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from whyserve.api.app import create_app
from whyserve.api.middleware.otel import TracedApp
from whyserve.api.server.connection import MAX_CONNECTIONS, connection_factory
from whyserve.api.server.timeouts import TimeoutSweep
from whyserve.api.state import Service
from whyserve.predict.catalog import load_catalog
from whyserve.processes.listening import check_exposure, listen
from whyserve.processes.parent import stop_with_parent
from whyserve.queues.factory import open_queue
from whyserve.settings import ApiSettings
from whyserve.telemetry.logs import configure
from whyserve.telemetry.setup import open_tracer

# Of the time to drain, what is left to tell those who wait for an explanation where it will be.
LAST_SHARE = 0.2
# uvicorn's own ticks are a tenth of a second.
SWEEP_TICKS = 5
# Connections, and some besides: files of models, the queue's, standard streams.
FILES = MAX_CONNECTIONS + 200


class Server(uvicorn.Server):
    """Says first that it is no longer ready, and still serves for a moment: whoever sends callers here has to hear
    of it. Then it lets requests in flight finish, and hurries those that would take too long for that.
    """

    def __init__(self, config: uvicorn.Config, service: Service, drain_s: float) -> None:
        super().__init__(config)
        self._service, self._patience_s = service, (1 - LAST_SHARE) * drain_s
        self._sweep = TimeoutSweep(service.settings.read_timeout_s, service.settings.write_timeout_s, SWEEP_TICKS / 10)

    async def on_tick(self, counter: int) -> bool:
        if counter % SWEEP_TICKS == 0:
            self._sweep(self.server_state.connections)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # A signal may come between any two steps of the loop. One at the keyboard, or a second one, waits for nobody.
        again = self._service.shutting_down.is_set()
        delay_s = 0.0 if again or sig == signal.SIGINT else self._service.settings.shutdown_delay_s
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(self._service.shutting_down.set)
        loop.call_soon_threadsafe(loop.call_later, delay_s, super().handle_exit, sig, frame)
        loop.call_soon_threadsafe(loop.call_later, delay_s + self._patience_s, self._service.release_waiters.set)


def main(settings: ApiSettings, listening: socket.socket | None = None) -> None:
    """Serve until SIGTERM or SIGINT; in flight is then finished. Raises WhyserveError before it serves anything."""
    configure("api", settings.log_level)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again once it has drained
    stop_with_parent()
    check_exposure(settings)
    _allow_files(FILES)
    listening = listening or listen(settings.host, settings.port)
    catalog = load_catalog(settings.artifacts, settings.threads)
    spans = open_tracer("api")
    service = Service.build(settings, catalog, open_queue(settings), spans)
    app: ASGIApp = create_app(service)
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
    try:
        with contextlib.suppress(KeyboardInterrupt):  # raised again in the same way
            Server(config, service, settings.drain_s).run(sockets=[listening])
    finally:
        if spans:
            spans.close()


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
