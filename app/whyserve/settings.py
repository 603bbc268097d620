"""Settings, from environment variables (WHYSERVE_PORT=9000) or from flags of the same names (--port 9000).

Each command has one class; `Common` and `Settings` hold what several share. The text below a setting describes it for
people, in `--help` and in docs/settings.md. Run `python docs/make_settings.py` after a change.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from whyserve.model.methods import BUDGET_MAX_MS, BUDGET_MS
from whyserve.remote import is_address, local_folder

Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


def listed(text: str) -> list[str]:
    """The parts of a setting that has commas between them."""
    return [part for each in text.split(",") if (part := each.strip())]


class Common(BaseSettings):
    """Settings of all commands.

    unused: settings that this command has from a base class, but does not use. The command line does not show them.
    """

    # A compose file passes an unset variable as an empty string.
    model_config = SettingsConfigDict(
        env_prefix="WHYSERVE_", extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )
    unused: ClassVar[frozenset[str]] = frozenset()

    state: Path = Path(".whyserve")
    """Folder of the embedded queue and of lock files."""
    models: Path = Path("models")
    """Folder that holds the model folders, or its address in an object store, such as s3://bucket/models."""
    artifacts: Path = Path("artifacts")
    """Folder of exported models."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """Least severe level that is logged."""

    @field_validator("models", "state", "artifacts", "folder", mode="before", check_fields=False)
    @classmethod
    def _of_this_machine(cls, value: Any, info: ValidationInfo) -> Any:
        """Of an address, the folder of its copy. Only the folder of models has a copy."""
        if info.field_name == "models":
            return local_folder(str(value), info.data.get("state", Path()))
        if is_address(value):
            raise ValueError("must be a folder of this machine; only WHYSERVE_MODELS can be in an object store")
        return value


class RecordPlace(Common):
    """The setting that the API, the export and `whyserve record` share."""

    record: str | None = None
    """Decision record: sqlite:///FILE or postgresql://USER@HOST/DATABASE; unset: no record."""


class RecordSettings(RecordPlace):
    """`whyserve record`."""

    unused = frozenset({"log_level", "models", "artifacts"})


class ExportSettings(RecordPlace):
    """`whyserve export`."""

    unused = frozenset({"log_level"})

    budget_ms: Positive = BUDGET_MS
    """Milliseconds per row that the default explanation method may take."""
    budget_max_ms: Positive = BUDGET_MAX_MS
    """Milliseconds per row that it may take if no faster method is reliable."""


class CheckSettings(ExportSettings):
    """`whyserve check`. A field without a default is a positional argument."""

    unused = frozenset({"log_level", "models", "artifacts", "record"})

    folder: Path
    """A model folder."""


class NewSettings(Common):
    """`whyserve new`."""

    unused = frozenset({"log_level", "artifacts", "state"})

    name: str
    """Name of the model and of its folder."""
    framework: Literal["torch", "keras"] = "torch"
    """Framework of the network."""


class VerifySettings(Common):
    """`whyserve verify`."""

    unused = frozenset({"log_level", "models", "state"})

    artifacts: Path
    """Folder of exported models."""


class TableSettings(Common):
    """`whyserve explain`. A worker has the same settings."""

    memory_mb: Annotated[int, Field(ge=16)] = 512
    """Memory for the forward passes of one explanation, in MiB."""
    worker_threads: Count = 1
    """Threads of one explanation."""
    device: Annotated[str, Field(pattern=r"^(cpu|auto|cuda(:\d+)?)$")] = "cpu"
    """Device of the networks: cpu, cuda, cuda:1, or auto for CUDA where it is available."""


class Settings(Common):
    """Settings of the API and of the worker."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8000
    """Port to listen on; 0 picks a free port."""
    redis_url: str | None = None
    """Address of Redis, for several machines; unset: the embedded queue."""
    redis_wait_s: NotNegative = 10
    """Seconds that a starting process waits for Redis's host name to have an address."""
    queue_depth: Count = 1000
    """Unfinished explanations in the queue, or waiting at one API; more get status 503."""
    keep_results_s: Positive = 3600
    """Seconds that a finished explanation is kept."""
    keep_results_mb: Count = 256
    """Size of the queue's requests and results, in MiB; the oldest go first. With Redis, at most half of its memory."""
    lease_s: Positive = 10
    """Seconds without a sign of life after which a worker's jobs go to other workers."""

    keys: str | None = None
    """Lines of `whyserve key`, separated by semicolons; unset: no keys from here."""
    keys_file: Path | None = None
    """File of such lines, one per line, read again when it changes; unset: none."""
    allow_anonymous: bool = False
    """Serve other machines without keys, for a gateway in front that authenticates callers."""

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, value: str) -> str:
        """An IPv6 address may have the brackets that it has in a URL."""
        return value[1:-1] if value.startswith("[") and value.endswith("]") else value

    @property
    def is_guarded(self) -> bool:
        """Whether requests need a key or a token."""
        return bool(self.keys or self.keys_file)


class ApiSettings(Settings, RecordPlace):
    """`whyserve api`."""

    record_sync: bool = False
    """Answer when the decision is on disk; false: it is on disk within a second."""
    record_required: bool = True
    """Answer 503 if a decision cannot be recorded; false: answer without a record."""
    record_keep_days: Positive | None = None
    """Days that decisions are kept; unset: no limit."""
    record_keep_mb: Count | None = None
    """Size of the decision record, in MiB; the oldest go first; unset: any."""
    record_checkpoints: Path | None = None
    """File on another disk to which checkpoints of the record are appended; unset: the log only."""

    oidc_issuer: str | None = None
    """Address of an OpenID Connect issuer, whose tokens are accepted too; unset: no tokens."""
    oidc_audience: str | None = None
    """Audience that a token must name; needed with an issuer."""
    oidc_jwks_url: str | None = None
    """Address of the issuer's public keys; unset: the one that the issuer publishes."""
    oidc_scope_prefix: str = ""
    """What precedes predict, explain and admin in the scopes of a token."""
    oidc_caller_claim: str = "sub"
    """Claim of a token that names the caller."""
    max_instances: Count = 1000
    """Largest number of instances in one request."""
    max_summary_rows: Count = 10_000
    """Largest number of instances in one summary."""
    max_body_mb: Count = 32
    """Largest body of a request, decompressed, in MiB."""
    max_answer_mb: Count = 128
    """Largest expected answer of an explanation, in MiB; else status 422."""
    explain_wait_s: Positive = 30
    """Seconds that /explain waits for the result; then it answers 202 with its address."""
    explain_deadline_s: Positive = 300
    """Seconds that one explanation may take; a sampled method then returns what it has so far."""
    cache_mb: Annotated[int, Field(ge=0)] = 64
    """Memory of the explanation cache, in MiB; 0: no cache."""
    root_path: str = ""
    """Path prefix below which a proxy serves the service, such as /whyserve; empty: none."""
    trusted_proxies: str = ""
    """Addresses or networks of proxies whose X-Forwarded headers are used, with commas; *: all."""
    cors_origins: str = ""
    """Origins of other pages that may call the API, such as https://a.example, with commas."""
    max_inflight_mb: Count = 256
    """Memory of all bodies that are read or sent, in MiB; more get status 503."""
    shutdown_delay_s: NotNegative = 1
    """Seconds between the signal to stop and the end of accepting requests; /health/ready answers 503 meanwhile."""
    drain_s: Positive = 25
    """Seconds that requests in flight may take after the end of accepting requests."""
    threads: Count = 1
    """Threads of one prediction."""
    providers: str = ""
    """Execution providers of ONNX Runtime, the first choice first, with commas; empty: the CPU."""

    max_requests: Count = 1000
    """Requests processed at once; more are refused with status 503."""
    max_requests_s: NotNegative = 0
    """Requests per second and key; more are refused with status 429. 0: no limit."""
    max_explain_cost_s: NotNegative = 0
    """Outputs × background rows × samples per second and key, or status 429. 0: none."""
    read_timeout_s: Annotated[float, Field(ge=2)] = 10
    """Seconds in which a client must have sent its request."""
    write_timeout_s: Annotated[float, Field(ge=2)] = 60
    """Seconds in which a client must have read its response."""
    # httpx keeps an idle connection for 5 seconds, nginx and AWS load balancers for 60. If the server closes it first,
    # a request can meet the close and get no answer.
    keep_alive_s: Annotated[float, Field(ge=2)] = 75
    """Seconds that an idle connection stays open; longer than clients and proxies keep it."""

    @property
    def is_guarded(self) -> bool:
        return super().is_guarded or self.oidc_issuer is not None

    @field_validator("root_path")
    @classmethod
    def _prefix(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not value.startswith("/"):
            raise ValueError("must start with /")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for each in listed(value) if value.strip() != "*" else ():
            ipaddress.ip_network(each)
        return value


class DocumentSettings(ApiSettings):
    """`whyserve openapi`: the document states limits of the API."""

    unused = frozenset(ApiSettings.model_fields) - {
        "artifacts", "threads", "max_instances", "max_summary_rows", "max_body_mb", "keys", "keys_file",
    }  # fmt: skip


class WorkerSettings(Settings, TableSettings):
    """`whyserve worker`. The keys guard its metrics."""

    unused = frozenset({"port"})

    batch_jobs: Count = 16
    """Jobs of one model that are computed together."""
    worker_metrics_port: Port | None = None
    """Port of the worker's Prometheus metrics, 0 picks a free port; unset: no metrics."""
    # A core that predictions saturate leaves a tenth of its time to level 10 (sched(7): weights 110 and 1024).
    nice: Annotated[int, Field(ge=0, le=19)] = 10
    """Nice level of the worker; higher leaves more CPU time to predictions."""
    health_file: Path | None = None
    """File that the worker touches after each answer of the queue, for a health check; unset: none."""


class UpSettings(ExportSettings, ApiSettings, WorkerSettings):
    """`whyserve up`: the settings of all processes that it starts."""

    unused = frozenset()

    start_s: Positive = 300
    """Seconds that the service may take to become ready."""
