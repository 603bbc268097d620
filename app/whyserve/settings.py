"""Settings, from the environment (WHYSERVE_PORT=9000) or from flags of the same names (--port 9000).

One class a process; what every process knows stands in the first.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """What every process knows."""

    model_config = SettingsConfigDict(env_prefix="WHYSERVE_", extra="ignore")

    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Field(description="Port to listen on; 0 takes a free one.")] = 8000
    models: Annotated[Path, Field(description="Folder of model folders.")] = Path("models")
    artifacts: Annotated[Path, Field(description="Folder of exported models.")] = Path("artifacts")
    state: Annotated[Path, Field(description="Folder of the embedded queue.")] = Path(".whyserve")
    redis_url: Annotated[str | None, Field(description="Redis for many machines; unset, the embedded queue.")] = None
    redis_wait_s: Annotated[
        float, Field(ge=0, description="Seconds that a starting process waits for Redis before it gives up.")
    ] = 10
    queue_depth: Annotated[int, Field(ge=1, description="Explanations that may wait before /explain says 503.")] = 1000
    keep_results_s: Annotated[Seconds, Field(description="Seconds that a finished explanation is kept.")] = 3600
    lease_s: Annotated[Seconds, Field(description="Seconds of silence after which a worker is taken for dead.")] = 10

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="Least severe lines that are logged.")
    ] = "warning"


class ExportSettings(Settings):
    """`whyserve export`."""

    budget_ms: Annotated[
        float, Field(gt=0, description="Milliseconds a row that the default explanation method may take.")
    ] = 20


class CheckSettings(ExportSettings):
    """`whyserve check`. What has no default is given by its place on the command line."""

    folder: Annotated[Path, Field(description="A model folder.")]


class NewSettings(Settings):
    """`whyserve new`."""

    name: Annotated[str, Field(description="The model's name, and its folder's.")]
    framework: Annotated[Literal["torch", "keras"], Field(description="What its network is written in.")] = "torch"


class ApiSettings(Settings):
    """`whyserve api`."""

    max_instances: Annotated[int, Field(ge=1, description="Instances that one request may hold.")] = 1000
    max_summary_rows: Annotated[int, Field(ge=1, description="Instances that one summary may be of.")] = 10_000
    max_body_mb: Annotated[int, Field(ge=1, description="MiB that the body of one request may hold, unpacked.")] = 32
    explain_wait_s: Annotated[
        Seconds, Field(description="Seconds that /explain waits for its result before it answers 202.")
    ] = 30
    explain_deadline_s: Annotated[
        Seconds, Field(description="Seconds that one explanation may take; a sampled method answers with what it has.")
    ] = 300
    cache_mb: Annotated[int, Field(ge=0, description="Memory of the cache of explanations, MiB; 0 keeps none.")] = 64
    shutdown_delay_s: Annotated[
        float, Field(ge=0, description="Seconds that it still serves, no longer ready, once it is told to stop.")
    ] = 1
    drain_s: Annotated[Seconds, Field(description="Seconds that requests in flight have once it stops.")] = 25
    threads: Annotated[int, Field(ge=1, description="Threads of one prediction.")] = 1

    keys: Annotated[str | None, Field(description="API keys, as `whyserve key` prints them, ; between them.")] = None
    keys_file: Annotated[Path | None, Field(description="File of API keys, a line a key; a change is noticed.")] = None
    allow_anonymous: Annotated[
        bool, Field(description="Serve other machines without keys: where a gateway in front checks who asks.")
    ] = False
    max_requests: Annotated[int, Field(ge=1, description="Requests under way before others are told 503.")] = 1000
    max_requests_s: Annotated[float, Field(ge=0, description="Requests a second of one key; 0 sets no limit.")] = 0
    max_explain_cost_s: Annotated[
        float, Field(ge=0, description="Rows × background rows × outputs a second of one key; 0 sets no limit.")
    ] = 0
    read_timeout_s: Annotated[float, Field(ge=2, description="Seconds in which a request must have come.")] = 10
    write_timeout_s: Annotated[float, Field(ge=2, description="Seconds in which its answer must have been taken.")] = 60

    @field_validator("keys", "keys_file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        # In a compose file, what is not set is empty.
        return None if value == "" else value


class DocumentSettings(ApiSettings):
    """`whyserve openapi`: some of what the API knows is in its document."""


class WorkerSettings(Settings):
    """`whyserve worker`."""

    batch_jobs: Annotated[int, Field(ge=1, description="Jobs of one model that share passes.")] = 16
    memory_mb: Annotated[int, Field(ge=16, description="Memory that one explanation's passes may take, MiB.")] = 512
    worker_threads: Annotated[int, Field(ge=1, description="Threads of one explanation.")] = 1
    worker_metrics_port: Annotated[
        Port | None, Field(description="Port of the worker's own figures for Prometheus; unset, they are not served.")
    ] = None
    nice: Annotated[int, Field(ge=0, le=19, description="How far explaining steps back for predicting.")] = 5
    health_file: Annotated[
        Path | None, Field(description="File that is touched while all is well, for a health check; unset, none.")
    ] = None


class TableSettings(WorkerSettings):
    """`whyserve explain`."""


class UpSettings(ExportSettings, ApiSettings, WorkerSettings):
    """`whyserve up`: those of all the processes that it starts."""
