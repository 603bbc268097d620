"""Print the OpenAPI document of the exported models: what the page's client types are generated from."""

import json
import sys
import tempfile
from pathlib import Path

from app.api.application import create_api
from app.api.oip.infer import Infer
from app.api.predictions import Predict
from app.api.service import Service
from app.predict.catalog import load_catalog
from app.queues.choose import open_queue
from app.settings import ApiSettings


def main(artifacts: Path) -> None:
    with tempfile.TemporaryDirectory() as state:
        settings = ApiSettings(artifacts=artifacts, state=Path(state))
        service = Service.build(settings, load_catalog(artifacts, settings.threads), open_queue(settings))
        json.dump(create_api(service, Predict(service), Infer(service)).openapi(), sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "artifacts"))
