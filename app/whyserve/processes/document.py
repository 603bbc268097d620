"""`whyserve openapi`: print the OpenAPI document of the exported models, for generating clients."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import TextIO

from whyserve.api.app import create_api
from whyserve.api.state import Service
from whyserve.predict.catalog import load_catalog
from whyserve.queues.factory import open_queue, open_source
from whyserve.settings import DocumentSettings


def main(settings: DocumentSettings, out: TextIO) -> None:
    """Write the document to `out` as JSON. Raises ModelFault, DigestMismatch."""
    catalog = load_catalog(settings.artifacts, settings.threads)
    with tempfile.TemporaryDirectory() as state:
        # The service needs a queue. A temporary one leaves the queue of a running service alone.
        alone = settings.model_copy(update={"state": Path(state), "redis_url": None})
        service = Service(alone, catalog, open_queue(alone), lambda: open_source(alone, "document"))
        json.dump(create_api(service).openapi(), out, indent=1, ensure_ascii=False)
        out.write("\n")
        asyncio.run(service.queue.close())
