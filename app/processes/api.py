"""The API process: HTTP in front of ONNX Runtime, on one event loop."""

import contextlib
import logging
import socket

import uvicorn

from app.api.application import create_app
from app.api.service import Service
from app.predict.catalog import load_catalog
from app.processes.listening import listen
from app.processes.parent import stop_with_parent
from app.queues.choose import open_queue
from app.settings import ApiSettings


def main(settings: ApiSettings, listening: socket.socket | None = None) -> None:
    """Serve until SIGTERM or SIGINT; in flight is then finished. Raises WhyserveError before it serves anything."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s api %(levelname)s %(message)s")
    stop_with_parent()
    listening = listening or listen(settings.host, settings.port)
    catalog = load_catalog(settings.artifacts, settings.threads)
    service = Service.build(settings, catalog, open_queue(settings))
    config = uvicorn.Config(
        create_app(service),
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_s),
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has drained
        uvicorn.Server(config).run(sockets=[listening])
