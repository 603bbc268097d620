"""The worker's metrics over HTTP. Who may read them is decided as for the API's /metrics."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server

from whyserve.api.middleware.auth import Authentication
from whyserve.errors import ConfigurationError, Forbidden, WhyserveError
from whyserve.processes.listening import check_exposure
from whyserve.settings import WorkerSettings
from whyserve.telemetry.metrics import WORKER

log = logging.getLogger("whyserve.worker")

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def serve_metrics(settings: WorkerSettings) -> None:
    """Serve the metrics in a thread if the settings name a port. Raises ConfigurationError."""
    if settings.worker_metrics_port is None:
        return
    check_exposure(settings)
    host, port = settings.host, settings.worker_metrics_port
    application, authentication = make_wsgi_app(WORKER), Authentication.build(settings)
    try:
        # The library starts the server at once, so the server has nothing to show before it has the guard.
        server, _ = start_http_server(port, host, CollectorRegistry())
    except OSError as error:
        raise ConfigurationError(
            f"WHYSERVE_WORKER_METRICS_PORT: cannot listen on {host}:{port}: {error.strerror}; choose another port"
        ) from error
    server.set_app(_guarded(application, authentication) if authentication else application)
    log.info("serving metrics", extra={"port": server.server_port})


def _guarded(application: Wsgi, authentication: Authentication) -> Wsgi:
    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        names = ("authorization", "x-api-key")
        headers = {n.encode(): environ.get(f"HTTP_{n.upper().replace('-', '_')}", "").encode("latin-1") for n in names}
        try:
            authentication.caller("/metrics", headers)
        except WhyserveError as error:
            status = "403 Forbidden" if isinstance(error, Forbidden) else "401 Unauthorized"
            start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
            return [error.message.encode() + b"\n"]
        return application(environ, start_response)

    return serve
