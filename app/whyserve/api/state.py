"""What the endpoints share: the models, the queue, and the adapters that parse requests."""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from whyserve.api.cache import ExplanationCache
from whyserve.api.errors.problems import validated
from whyserve.api.ids import Ids, read_secret
from whyserve.api.middleware.body import BodyMemory
from whyserve.api.middleware.otel import traced
from whyserve.api.middleware.rate_limit import RateLimit
from whyserve.api.promotion import Promoted
from whyserve.api.schemas.counterfactual import counterfactual_request
from whyserve.api.schemas.duplicate_keys import check_duplicate_keys
from whyserve.api.schemas.requests import explain_request, predict_request, set_instances
from whyserve.api.schemas.versions import VersionedAdapter
from whyserve.delivery.dispatcher import Dispatcher
from whyserve.errors import ConfigurationError
from whyserve.model.rows import Arrays
from whyserve.predict.catalog import Catalog
from whyserve.predict.predictor import Predictor
from whyserve.queue_protocols import JobQueue, JobSource
from whyserve.record.content import Decision
from whyserve.settings import ApiSettings

if TYPE_CHECKING:
    from whyserve.record.writer import Recorder
    from whyserve.telemetry.spans import Tracer

State = MutableMapping[str, Any]  # of a request
# A caller may use this many seconds of its explanation limit at once.
EXPLAIN_BURST_S = 10.0
EXPLAIN_LIMIT = "this key has used its explanation limit"


class Service:
    """The state of the API process. One event loop owns it.

    catalog, predict_adapter, explain_adapter, counterfactual_adapter: the served models and the parsers of their
        requests. `replace_catalog` changes them together, in one step of the loop.
    explain_limit: the largest number of instances in a request to explain; a summary may have more than other ones.
    cache: explanations by row.
    ids: makes the ids of explanations, and recognises them.
    direct, promoted: the jobs that callers wait for, and those of them that went on to the queue.
    body_memory: counts the bytes of all bodies in memory: of requests, and of answers that are being sent.
    explain_rate_limit: by caller; None without a limit.
    record: writes the decisions; None without a record.
    tracer: None if the service does not trace.
    load_lock: held while models are loaded or unloaded.
    shutting_down: set when the process is told to stop. It still serves, but /health/ready answers 503.
    release_waiters: set shortly before the shutdown ends. Requests that wait for an explanation then answer 202.
    """

    def __init__(
        self,
        settings: ApiSettings,
        catalog: Catalog,
        queue: JobQueue,
        open_source: Callable[[], JobSource],
        tracer: "Tracer | None" = None,
    ) -> None:
        """open_source: opens the worker's side of the queue, at the first promotion."""
        self.settings, self.queue, self.tracer = settings, queue, tracer
        self.explain_limit = max(settings.max_instances, settings.max_summary_rows)
        self.cache = ExplanationCache(settings.cache_mb << 20)
        self.body_memory = BodyMemory(settings.max_body_mb << 20, settings.max_inflight_mb << 20)
        rate = settings.max_explain_cost_s
        self.explain_rate_limit = RateLimit(rate, EXPLAIN_BURST_S, EXPLAIN_LIMIT) if rate else None
        self.ids = Ids(read_secret(settings), settings.keep_results_s)
        self.direct = Dispatcher(settings.queue_depth)
        self.promoted = Promoted(self.direct, open_source)
        self.record = recorder(settings)
        self.load_lock, self.shutting_down, self.release_waiters = asyncio.Lock(), asyncio.Event(), asyncio.Event()
        self.replace_catalog(catalog)

    def replace_catalog(self, catalog: Catalog) -> None:
        """Serve these models from now on. Requests in flight finish with the models that they started with."""
        self.catalog = traced(catalog, self.tracer) if self.tracer else catalog
        limit, explain_limit = self.settings.max_instances, self.explain_limit
        self.predict_adapter = VersionedAdapter(self.catalog, lambda manifest: predict_request(manifest, limit))
        self.explain_adapter = VersionedAdapter(self.catalog, lambda manifest: explain_request(manifest, explain_limit))
        self.counterfactual_adapter = VersionedAdapter(self.catalog, counterfactual_request)

    def note(self, state: State, predictor: Predictor, body: bytes, arrays: Arrays, **more: Any) -> None:
        """Say that the answer of a request is a decision, if decisions are recorded. more: fields of Decision."""
        if self.record is not None:
            state["decision"] = Decision(predictor.spec, predictor.digest, predictor.filled, body, arrays, **more)

    def parse(self, adapter: VersionedAdapter, body: bytes) -> dict[str, Any]:
        """A valid request. Raises MalformedBody, UnknownModel, InvalidInput, TooManyInstances, DuplicateKey."""
        request: dict[str, Any] = validated(lambda: adapter.validate_json(body), self.catalog.names)
        check_duplicate_keys(body, request)
        set_instances(request)
        return request

    def validate(self, adapter: VersionedAdapter, content: dict[str, Any]) -> dict[str, Any]:
        """Like `parse`, for JSON that is parsed already."""
        request: dict[str, Any] = validated(lambda: adapter.validate_python(content), self.catalog.names)
        set_instances(request)
        return request


def recorder(settings: ApiSettings) -> "Recorder | None":
    """The recorder of these settings; None without a record. Raises ConfigurationError if its extra is missing."""
    if settings.record is None:
        return None
    try:
        from whyserve.record.writer import Recorder  # noqa: PLC0415  # few services need SQLAlchemy
    except ImportError as error:
        raise ConfigurationError(
            'WHYSERVE_RECORD: needs the extra "record": pip install "whyserve[record]", or build with EXTRAS=record'
        ) from error
    return Recorder(settings)
