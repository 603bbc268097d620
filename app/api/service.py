"""What the endpoints share: the models, the queue, and the adapters that read their requests."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.api.cache import ExplanationCache
from app.api.problems import from_validation
from app.api.schemas import adapter, explain_request, predict_request, union
from app.jobs import JobQueue
from app.predict.catalog import Catalog
from app.settings import ApiSettings


@dataclass(frozen=True, slots=True)
class Service:
    """hurry: set when the service is about to stop; who waits for an explanation is then told where it will be."""

    settings: ApiSettings
    catalog: Catalog
    queue: JobQueue
    predict_adapter: TypeAdapter[Any]
    explain_adapter: TypeAdapter[Any]
    cache: ExplanationCache
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def build(cls, settings: ApiSettings, catalog: Catalog, queue: JobQueue) -> "Service":
        manifests = [predictor.manifest for predictor in catalog]
        most = settings.max_instances
        return cls(
            settings,
            catalog,
            queue,
            adapter(union([predict_request(manifest, most) for manifest in manifests])),
            adapter(union([explain_request(manifest, max(most, settings.max_summary_rows)) for manifest in manifests])),
            ExplanationCache(settings.cache_mb << 20),
        )

    def read(self, of: TypeAdapter[Any], body: bytes) -> dict[str, Any]:
        """A checked request. Raises MalformedBody, UnknownModel, InvalidInput, TooManyInstances."""
        try:
            request: dict[str, Any] = of.validate_json(body)
        except ValidationError as error:
            raise from_validation(error, self.catalog.names) from None
        return request

    def check(self, of: TypeAdapter[Any], content: dict[str, Any]) -> dict[str, Any]:
        """As `read` does, of JSON that has been parsed."""
        try:
            request: dict[str, Any] = of.validate_python(content)
        except ValidationError as error:
            raise from_validation(error, self.catalog.names) from None
        return request
