"""`whyserve openapi`: print the OpenAPI document of the exported models, for generating clients."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import TextIO

from whyserve.api.app import create_api
from whyserve.api.oip.infer import Infer
from whyserve.api.routes.predict import Predict
from whyserve.api.state import Service
from whyserve.predict.catalog import load_catalog
from whyserve.queues.factory import open_queue
from whyserve.settings import DocumentSettings


def main(settings: DocumentSettings, out: TextIO) -> None:
    """Write the document to `out` as JSON. Raises ModelFault, DigestMismatch."""
    asyncio.run(_write(settings, out))


async def _write(settings: DocumentSettings, out: TextIO) -> None:
    catalog = load_catalog(settings.artifacts, settings.threads)
    with tempfile.TemporaryDirectory() as state:
        # The service needs a queue. A temporary one leaves the queue of a running service alone.
        queue = open_queue(settings.model_copy(update={"state": Path(state), "redis_url": None}))
        service = Service.build(settings, catalog, queue)
        json.dump(create_api(service, Predict(service), Infer(service)).openapi(), out, indent=1, ensure_ascii=False)
        out.write("\n")
        await queue.close()
