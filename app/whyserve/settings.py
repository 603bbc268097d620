"""Settings, from environment variables (WHYSERVE_PORT=9000) or from flags of the same names (--port 9000).

Each command has one class; `Common` and `Settings` hold what several share. docs/settings.md is made from this module:
run `python docs/make_settings.py` after a change.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from whyserve.model.methods import BUDGET_MAX_MS, BUDGET_MS

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


def listed(text: str) -> list[str]:
    """The parts of a setting that has commas between them."""
    return [part for each in text.split(",") if (part := each.strip())]


class Common(BaseSettings):
    """Settings of all commands.

    unused: settings that this command has from a base class, but does not use. The command line does not show them.
    """

    # A compose file passes an unset variable as an empty string.
    model_config = SettingsConfigDict(env_prefix="WHYSERVE_", extra="ignore", env_ignore_empty=True)
    unused: ClassVar[frozenset[str]] = frozenset()

    models: Annotated[Path, Field(description="Folder that holds the model folders.")] = Path("models")
    artifacts: Annotated[Path, Field(description="Folder of exported models.")] = Path("artifacts")
    state: Annotated[Path, Field(description="Folder of the embedded queue and of lock files.")] = Path(".whyserve")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="Least severe level that is logged.")
    ] = "warning"


class RecordPlace(Common):
    """The setting that the API, the export and `whyserve record` share."""

    record: Annotated[
        str | None,
        Field(description="Decision record: sqlite:///FILE or postgresql://USER@HOST/DATABASE; unset: no record."),
    ] = None


class RecordSettings(RecordPlace):
    """`whyserve record`."""

    unused = frozenset({"log_level", "models", "artifacts"})


class ExportSettings(RecordPlace):
    """`whyserve export`."""

    unused = frozenset({"log_level"})

    budget_ms: Annotated[
        float, Field(gt=0, description="Milliseconds per row that the default explanation method may take.")
    ] = BUDGET_MS
    budget_max_ms: Annotated[
        float, Field(gt=0, description="Milliseconds per row that it may take if no faster method is reliable.")
    ] = BUDGET_MAX_MS


class CheckSettings(ExportSettings):
    """`whyserve check`. A field without a default is a positional argument."""

    unused = frozenset({"log_level", "models", "artifacts", "record"})

    folder: Annotated[Path, Field(description="A model folder.")]


class NewSettings(Common):
    """`whyserve new`."""

    unused = frozenset({"log_level", "artifacts", "state"})

    name: Annotated[str, Field(description="Name of the model and of its folder.")]
    framework: Annotated[Literal["torch", "keras"], Field(description="Framework of the network.")] = "torch"


class VerifySettings(Common):
    """`whyserve verify`."""

    unused = frozenset({"log_level", "models", "state"})

    artifacts: Annotated[Path, Field(description="Folder of exported models.")]


class TableSettings(Common):
    """`whyserve explain`. A worker has the same settings."""

    memory_mb: Annotated[int, Field(ge=16, description="Memory for the forward passes of one explanation, in MiB.")] = (
        512
    )
    worker_threads: Annotated[int, Field(ge=1, description="Threads of one explanation.")] = 1
    device: Annotated[
        str,
        Field(
            pattern=r"^(cpu|auto|cuda(:\d+)?)$",
            description="Device of the networks: cpu, cuda, cuda:1, or auto for CUDA where it is available.",
        ),
    ] = "cpu"


class Settings(Common):
    """Settings of the API and of the worker."""

    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Field(description="Port to listen on; 0 picks a free port.")] = 8000
    redis_url: Annotated[
        str | None, Field(description="Address of Redis, for several machines; unset: the embedded queue.")
    ] = None
    redis_wait_s: Annotated[
        float,
        Field(ge=0, description="Seconds that a starting process waits for Redis's host name to have an address."),
    ] = 10
    queue_depth: Annotated[
        int,
        Field(ge=1, description="Unfinished explanations in the queue, or waiting at one API; more get status 503."),
    ] = 1000
    keep_results_s: Annotated[Seconds, Field(description="Seconds that a finished explanation is kept.")] = 3600
    keep_results_mb: Annotated[
        int,
        Field(
            ge=1,
            description="Size of the queue's requests and results, in MiB; the oldest results are dropped first. With "
            "Redis at most half of its memory.",
        ),
    ] = 256
    lease_s: Annotated[
        Seconds, Field(description="Seconds without a sign of life after which a worker's jobs go to other workers.")
    ] = 10

    keys: Annotated[
        str | None, Field(description="Lines of `whyserve key`, separated by semicolons; unset: no keys from here.")
    ] = None
    keys_file: Annotated[
        Path | None, Field(description="File of such lines, one per line, read again when it changes; unset: none.")
    ] = None
    allow_anonymous: Annotated[
        bool,
        Field(description="Serve other machines without keys, for a gateway in front that authenticates callers."),
    ] = False

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

    unused = frozenset({"models"})

    record_sync: Annotated[
        bool, Field(description="Answer when the decision is on disk; false: it is on disk within a second.")
    ] = False
    record_required: Annotated[
        bool, Field(description="Answer 503 if a decision cannot be recorded; false: answer without a record.")
    ] = True
    record_keep_days: Annotated[
        float | None, Field(gt=0, description="Days that decisions are kept; unset: no limit.")
    ] = None
    record_keep_mb: Annotated[
        int | None,
        Field(ge=1, description="Size of the decision record, in MiB; the oldest go first; unset: any."),
    ] = None
    record_checkpoints: Annotated[
        Path | None,
        Field(description="File on another disk to which checkpoints of the record are appended; unset: the log only."),
    ] = None

    oidc_issuer: Annotated[
        str | None,
        Field(description="Address of an OpenID Connect issuer, whose tokens are accepted too; unset: no tokens."),
    ] = None
    oidc_audience: Annotated[
        str | None, Field(description="Audience that a token must name; needed with an issuer.")
    ] = None
    oidc_jwks_url: Annotated[
        str | None, Field(description="Address of the issuer's public keys; unset: the one that the issuer publishes.")
    ] = None
    oidc_scope_prefix: Annotated[
        str, Field(description="What precedes predict, explain and admin in the scopes of a token.")
    ] = ""
    oidc_caller_claim: Annotated[str, Field(description="Claim of a token that names the caller.")] = "sub"
    max_instances: Annotated[int, Field(ge=1, description="Largest number of instances in one request.")] = 1000
    max_summary_rows: Annotated[int, Field(ge=1, description="Largest number of instances in one summary.")] = 10_000
    max_body_mb: Annotated[int, Field(ge=1, description="Largest body of a request, decompressed, in MiB.")] = 32
    max_answer_mb: Annotated[
        int, Field(ge=1, description="Largest expected answer of an explanation, in MiB; else status 422.")
    ] = 128
    explain_wait_s: Annotated[
        Seconds, Field(description="Seconds that /explain waits for the result; then it answers 202 with its address.")
    ] = 30
    explain_deadline_s: Annotated[
        Seconds,
        Field(description="Seconds that one explanation may take; a sampled method then returns what it has so far."),
    ] = 300
    cache_mb: Annotated[int, Field(ge=0, description="Memory of the explanation cache, in MiB; 0: no cache.")] = 64
    root_path: Annotated[
        str, Field(description="Path prefix below which a proxy serves the service, such as /whyserve; empty: none.")
    ] = ""
    trusted_proxies: Annotated[
        str,
        Field(description="Addresses or networks of proxies whose X-Forwarded headers are used, with commas; *: all."),
    ] = ""
    cors_origins: Annotated[
        str,
        Field(description="Origins of other pages that may call the API, such as https://a.example, with commas."),
    ] = ""
    max_inflight_mb: Annotated[
        int, Field(ge=1, description="Memory of all bodies that are read or sent, in MiB; more get status 503.")
    ] = 256
    shutdown_delay_s: Annotated[
        float,
        Field(
            ge=0,
            description="Seconds between the signal to stop and the end of accepting requests; /health/ready answers "
            "503 meanwhile.",
        ),
    ] = 1
    drain_s: Annotated[
        Seconds, Field(description="Seconds that requests in flight may take after the end of accepting requests.")
    ] = 25
    threads: Annotated[int, Field(ge=1, description="Threads of one prediction.")] = 1
    providers: Annotated[
        str,
        Field(description="Execution providers of ONNX Runtime, the first choice first, with commas; empty: the CPU."),
    ] = ""

    max_requests: Annotated[
        int, Field(ge=1, description="Requests processed at once; more are refused with status 503.")
    ] = 1000
    max_requests_s: Annotated[
        float, Field(ge=0, description="Requests per second and key; more are refused with status 429. 0: no limit.")
    ] = 0
    max_explain_cost_s: Annotated[
        float,
        Field(ge=0, description="Outputs × background rows × samples per second and key, or status 429. 0: none."),
    ] = 0
    read_timeout_s: Annotated[
        float, Field(ge=2, description="Seconds in which a client must have sent its request.")
    ] = 10
    write_timeout_s: Annotated[
        float, Field(ge=2, description="Seconds in which a client must have read its response.")
    ] = 60
    # httpx keeps an idle connection for 5 seconds, nginx and AWS load balancers for 60. If the server closes it first,
    # a request can meet the close and get no answer.
    keep_alive_s: Annotated[
        float,
        Field(ge=2, description="Seconds that an idle connection stays open; longer than clients and proxies keep it."),
    ] = 75

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

    batch_jobs: Annotated[int, Field(ge=1, description="Jobs of one model that are computed together.")] = 16
    worker_metrics_port: Annotated[
        Port | None,
        Field(description="Port of the worker's Prometheus metrics, 0 picks a free port; unset: no metrics."),
    ] = None
    nice: Annotated[
        int, Field(ge=0, le=19, description="Nice level of the worker; higher leaves more CPU time to predictions.")
    ] = 5
    health_file: Annotated[
        Path | None,
        Field(
            description="File that the worker touches after each answer of the queue, for a health check; unset: none."
        ),
    ] = None


class UpSettings(ExportSettings, ApiSettings, WorkerSettings):
    """`whyserve up`: the settings of all processes that it starts."""

    unused = frozenset()

    start_s: Annotated[Seconds, Field(description="Seconds that the service may take to become ready.")] = 300
