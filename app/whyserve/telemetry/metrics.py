"""All Prometheus metrics. Label values never come from a request's content."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from whyserve.telemetry.fast_metrics import FastHistogram, RequestMetrics

SHORT_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
SHARES = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)

# -- the API ---------------------------------------------------------------------------------------

REQUESTS = RequestMetrics(
    ("whyserve_requests", "Answered requests."),
    ("whyserve_request_seconds", "Seconds from a request's head to the last byte of its answer."),
    buckets=SHORT_S,
)
BATCH_ROWS = FastHistogram("whyserve_batch_rows", "Rows per run of ONNX Runtime.", ["model"], buckets=ROWS)
QUEUE_DEPTH = Gauge("whyserve_queue_depth", "Explanations in the queue that are not final.")
DIRECT_WAITING = Gauge("whyserve_direct_waiting", "Explanations of this process that callers wait for.")
WORKERS = Gauge("whyserve_workers", "Workers that are ready.")
EXPLANATION_S = FastHistogram(
    "whyserve_explanation_seconds",
    "Seconds from an explanation's request to its result. One process counts each explanation.",
    ["model", "method"],
    buckets=SHORT_S,
)
RESIDUAL = FastHistogram(
    "whyserve_explanation_residual",
    "Largest |residual| of an explanation, divided by its largest |value − base value|.",
    ["model", "method"],
    buckets=SHARES,
)
CACHE_ROWS = Counter("whyserve_explanation_cache_rows", "Requested rows, by whether the cache had them.", ["found"])
RECORDS = Counter("whyserve_records", "Decisions, by what became of their record.", ["end"])

# -- the worker --------------------------------------------------------------------------------------

# A registry of its own: the API's gauges would always be zero here.
WORKER = CollectorRegistry()
ProcessCollector(registry=WORKER)
COMPUTE_S = Histogram(
    "whyserve_worker_compute_seconds",
    "Seconds to compute a batch of jobs.",
    ["model", "method"],
    buckets=SHORT_S,
    registry=WORKER,
)
JOBS = Counter(
    "whyserve_worker_jobs",
    "Finished jobs, by end: done, or the error code.",
    ["model", "end"],
    registry=WORKER,
)
