"""What the endpoints share: the models, the queue, and the adapters that read their requests."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from whyserve.api.cache import ExplanationCache
from whyserve.api.errors.problems import from_validation
from whyserve.api.middleware.body import BodyMemory
from whyserve.api.middleware.otel import traced
from whyserve.api.middleware.rate_limit import RateLimit
from whyserve.api.schemas.duplicate_keys import check_duplicate_keys
from whyserve.api.schemas.models import explain_request, predict_request
from whyserve.api.schemas.versions import VersionedAdapter
from whyserve.predict.catalog import Catalog
from whyserve.queue_protocols import JobQueue
from whyserve.settings import ApiSettings

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer

# Seconds' worth of explaining that a caller may ask for at once.
EXPLAIN_BURST_S = 10.0


@dataclass(slots=True)
class Service:
    """catalog: replaced as a whole by `serve`, with its adapters, in one step of the loop.
    explaining: what each caller may have explained; None without a limit.
    reloading: held while models are loaded or unloaded.
    leaving: set once it is told to stop, and so no longer ready.
    spans: where traces are wanted.
    hurry: set when the service is about to stop; who waits for an explanation is then told where it will be."""

    settings: ApiSettings
    catalog: Catalog
    queue: JobQueue
    predict_adapter: VersionedAdapter
    explain_adapter: VersionedAdapter
    cache: ExplanationCache
    bodies: BodyMemory
    explaining: RateLimit | None
    spans: "Tracer | None" = None
    reloading: asyncio.Lock = field(default_factory=asyncio.Lock)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def build(
        cls, settings: ApiSettings, catalog: Catalog, queue: JobQueue, spans: "Tracer | None" = None
    ) -> "Service":
        catalog = traced(catalog, spans) if spans else catalog
        return cls(
            settings,
            catalog,
            queue,
            *_adapters(settings, catalog),
            ExplanationCache(settings.cache_mb << 20),
            BodyMemory(settings.max_body_mb << 20),
            RateLimit(settings.max_explain_cost_s, EXPLAIN_BURST_S, "this key asks for more explaining than it may")
            if settings.max_explain_cost_s
            else None,
            spans,
        )

    def serve(self, catalog: Catalog) -> None:
        """Serve these models from now on; requests in flight finish with what they began with."""
        catalog = traced(catalog, self.spans) if self.spans else catalog
        self.predict_adapter, self.explain_adapter = _adapters(self.settings, catalog)
        self.catalog = catalog

    def read(self, of: VersionedAdapter, body: bytes) -> dict[str, Any]:
        """A checked request. Raises MalformedBody, UnknownModel, InvalidInput, TooManyInstances, DuplicateKey."""
        try:
            request: dict[str, Any] = of.validate_json(body)
        except ValidationError as error:
            raise from_validation(error, self.catalog.names) from None
        check_duplicate_keys(body, request)
        return request

    def check(self, of: VersionedAdapter, content: dict[str, Any]) -> dict[str, Any]:
        """As `read` does, of JSON that has been parsed."""
        try:
            request: dict[str, Any] = of.validate_python(content)
        except ValidationError as error:
            raise from_validation(error, self.catalog.names) from None
        return request


def _adapters(settings: ApiSettings, catalog: Catalog) -> tuple[VersionedAdapter, VersionedAdapter]:
    most = settings.max_instances
    most_explained = max(most, settings.max_summary_rows)
    return (
        VersionedAdapter(catalog, lambda manifest: predict_request(manifest, most)),
        VersionedAdapter(catalog, lambda manifest: explain_request(manifest, most_explained)),
    )
