"""POST /v2/repository/models/{model}/load and /unload: newly exported builds come in, and no request fails."""

import asyncio
import re
import time

from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.state import Service
from whyserve.errors import LoadRefused, ModelFault, Unavailable, UnknownModel
from whyserve.model.manifest import MANIFEST_FILE
from whyserve.predict.catalog import load_versions
from whyserve.predict.predictor import Predictor

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
# Workers look for new builds by themselves; until one of them has this one, the old one serves.
WORKER_S = 60.0
LOOK_S = 0.1


async def load(request: Request) -> Response:
    """Serve the current build of a model, with the newest of each other version that is kept."""
    service: Service = request.app.state.service
    name = request.path_params["model"]
    artifacts = service.settings.artifacts
    if not NAME.fullmatch(name) or not (artifacts / name / MANIFEST_FILE).is_file():
        raise UnknownModel("nothing of this name has been exported; run `whyserve export`", field="model")
    async with service.reloading:
        known = service.catalog.versions(name).values()
        try:
            found = await asyncio.to_thread(load_versions, artifacts, name, service.settings.threads, known)
        except ModelFault as fault:
            raise LoadRefused(f"{fault.message}; what was served before still is") from fault
        await _await_worker(service, {predictor.digest for predictor in found})
        _serve(request, service, name, found)
    return Response(b"{}", media_type="application/json")


async def unload(request: Request) -> Response:
    """Serve a model no longer, or one version of it; what is in flight still finishes."""
    service: Service = request.app.state.service
    name, version = request.path_params["model"], request.path_params.get("version")
    async with service.reloading:
        gone = service.catalog.get(name, int(version) if version and version.isdecimal() else None)
        kept = [each for each in service.catalog.versions(name).values() if version is not None and each is not gone]
        if not kept and len(service.catalog) == 1:
            raise LoadRefused(f"{name} is the only model served; load another first")
        _serve(request, service, name, kept)
    return Response(b"{}", media_type="application/json")


def _serve(request: Request, service: Service, name: str, predictors: list[Predictor]) -> None:
    service.serve(service.catalog.with_model(name, predictors))
    request.app.openapi_schema = None  # made anew when it is next asked for


async def _await_worker(service: Service, digests: set[str]) -> None:
    """Until a worker can explain them all. Where there is no worker now, the next one begins with what is on disk."""
    end = time.monotonic() + WORKER_S
    while True:
        try:
            workers = await service.queue.workers()
        except Unavailable:
            return
        if not workers or any(worker.digests >= digests for worker in workers):
            return
        if time.monotonic() > end:
            raise LoadRefused(f"no worker has it after {WORKER_S:.0f} s, their log says why; the old one still serves")
        await asyncio.sleep(LOOK_S)
