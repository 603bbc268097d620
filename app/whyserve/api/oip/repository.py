"""POST /v2/repository/models/{model}/load and /unload: replace models without failing any request."""

import asyncio
import sys
import time

from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.state import Service
from whyserve.errors import LoadRefused, ModelFault, Unavailable, UnknownModel
from whyserve.model.manifest import MANIFEST_FILE
from whyserve.model.spec import is_name
from whyserve.predict.catalog import load_versions
from whyserve.predict.predictor import Predictor
from whyserve.remote import address_of
from whyserve.settings import ApiSettings

# Workers load new builds by themselves. The old build serves until a worker has loaded the new one.
WORKER_LOAD_S = 60.0
POLL_S = 0.1


async def load(request: Request) -> Response:
    """Serve the current build of a model, and the newest build of each of its other versions.

    If the models are in an object store, the model is fetched and exported first.
    """
    service: Service = request.app.state.service
    name = request.path_params["model"]
    artifacts = service.settings.artifacts
    async with service.load_lock:
        if is_name(name) and address_of(service.settings.models):
            await _export(service.settings, name)
        if not is_name(name) or not (artifacts / name / MANIFEST_FILE).is_file():
            raise UnknownModel("unknown model: no export has this name; run `whyserve export`", field="model")
        known = service.catalog.versions(name).values()
        try:
            found = await asyncio.to_thread(load_versions, artifacts, name, service.settings.threads, known)
        except ModelFault as fault:
            raise LoadRefused(f"{fault.message}; the previous build is still served") from fault
        await _await_worker(service, found[0].digest)
        _serve(request, service, name, found)
    return Response(b"{}", media_type="application/json")


async def unload(request: Request) -> Response:
    """Stop serving a model, or one version of it. Requests in flight finish."""
    service: Service = request.app.state.service
    name, version = request.path_params["model"], request.path_params.get("version")
    async with service.load_lock:
        removed = service.catalog.get(name, int(version) if version and version.isdecimal() else None)
        kept = [each for each in service.catalog.versions(name).values() if version is not None and each is not removed]
        if not kept and len(service.catalog) == 1:
            raise LoadRefused(f"{name} is the only served model; load another model first")
        _serve(request, service, name, kept)
    return Response(b"{}", media_type="application/json")


def _serve(request: Request, service: Service, name: str, predictors: list[Predictor]) -> None:
    service.replace_catalog(service.catalog.with_model(name, predictors))
    request.app.openapi_schema = None  # the next request for the document builds it again


async def _export(settings: ApiSettings, name: str) -> None:
    """Fetch a model and export it, in a process of its own: an export needs torch. Raises LoadRefused."""
    folders = {"models": settings.models, "artifacts": settings.artifacts, "state": settings.state}
    flags = [f"--{key}={folder}" for key, folder in folders.items()]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "whyserve.cli", "export", "--only", name, *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await child.communicate()
    finally:
        if child.returncode is None:  # the service shuts down
            child.kill()
    if child.returncode:
        words = said.decode(errors="replace").strip().rpartition("\n")[2].removeprefix("whyserve export: ")
        raise LoadRefused(f"{words}; the previous build is still served")


async def _await_worker(service: Service, digest: str) -> None:
    """Wait until a worker can explain this build. Without workers there is no wait: a new one loads the new build."""
    end = time.monotonic() + WORKER_LOAD_S
    while True:
        try:
            workers = await service.queue.workers()
        except Unavailable:
            return
        if not workers or any(digest in worker.digests for worker in workers):
            return
        if time.monotonic() > end:
            raise LoadRefused(
                f"no worker has loaded the build within {WORKER_LOAD_S:.0f} s; see the worker's log; "
                "the previous build is still served"
            )
        await asyncio.sleep(POLL_S)
