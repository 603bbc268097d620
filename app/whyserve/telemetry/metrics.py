"""What Prometheus is told, in one place. Seconds and rows, by model; a label's values are never a caller's own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from whyserve.telemetry.histogram import Histograms

SHORT_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
SHARES = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)

# -- the API ---------------------------------------------------------------------------------------

REQUESTS = Counter("whyserve_requests", "Requests answered.", ["route", "model", "status"])
REQUEST_S = Histograms(
    "whyserve_request_seconds", "From a request's head to its answer's last byte.", ["route", "model"], buckets=SHORT_S
)
BATCH_ROWS = Histograms("whyserve_batch_rows", "Rows that ONNX Runtime was given at once.", ["model"], buckets=ROWS)
QUEUE_DEPTH = Gauge("whyserve_queue_depth", "Explanations accepted and not yet final.")
WORKERS = Gauge("whyserve_workers", "Workers that are ready to explain.")
EXPLANATION_S = Histogram(
    "whyserve_explanation_seconds",
    "From an explanation's request to its result, each counted by one process, whoever waited for it.",
    ["model", "method"],
    buckets=SHORT_S,
)
RESIDUAL = Histogram(
    "whyserve_explanation_residual",
    "The largest |residual| of an explanation, over the largest |value − base value| in it.",
    ["model", "method"],
    buckets=SHARES,
)
CACHE_ROWS = Counter("whyserve_explanation_cache_rows", "Rows to explain, by whether they were known.", ["found"])

# -- the worker --------------------------------------------------------------------------------------

# Apart from the API's, whose gauges would stand at zero here.
WORKER = CollectorRegistry()
ProcessCollector(registry=WORKER)
COMPUTE_S = Histogram(
    "whyserve_worker_compute_seconds",
    "What computing a batch of jobs took.",
    ["model", "method"],
    buckets=SHORT_S,
    registry=WORKER,
)
JOBS = Counter(
    "whyserve_worker_jobs",
    "Jobs finished: done, or the code of what went wrong.",
    ["model", "end"],
    registry=WORKER,
)
