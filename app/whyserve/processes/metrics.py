"""The worker's metrics over HTTP. Who may read them is decided as for the API's /metrics."""

import logging
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from whyserve.api.middleware.auth import Authentication
from whyserve.errors import ConfigurationError, Forbidden, WhyserveError
from whyserve.processes.listening import check_exposure
from whyserve.settings import WorkerSettings
from whyserve.telemetry.metrics import WORKER

log = logging.getLogger("whyserve.worker")

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are frequent, and are not logged."""


def serve_metrics(settings: WorkerSettings) -> None:
    """Serve the metrics in a thread if the settings name a port. Raises ConfigurationError."""
    if settings.worker_metrics_port is None:
        return
    check_exposure(settings)
    host, port = settings.host, settings.worker_metrics_port
    kind = _Server6 if ":" in host else _Server
    application = _guarded(make_wsgi_app(WORKER), Authentication.build(settings))
    try:
        server: WSGIServer = make_server(host, port, application, kind, _Silent)
    except OSError as error:
        raise ConfigurationError(
            f"WHYSERVE_WORKER_METRICS_PORT: cannot listen on {host}:{port}: {error.strerror}; choose another port"
        ) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    log.info("serving metrics", extra={"port": server.server_port})


def _guarded(application: Wsgi, authentication: Authentication | None) -> Wsgi:
    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = {
            name: environ[variable].encode("latin-1")
            for name, variable in ((b"authorization", "HTTP_AUTHORIZATION"), (b"x-api-key", "HTTP_X_API_KEY"))
            if variable in environ
        }
        try:
            if authentication is not None:
                authentication.caller("/metrics", headers)
        except WhyserveError as error:
            status = "403 Forbidden" if isinstance(error, Forbidden) else "401 Unauthorized"
            start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
            return [error.message.encode() + b"\n"]
        return application(environ, start_response)

    return serve
