"""The OpenAPI document describes the service correctly."""

import json
import re
import subprocess
import sys
from typing import Any

import jsonschema
import pytest
from starlette.routing import Route

from tests.conftest import ROOT, shipped
from whyserve.api.middleware.auth import required_scope
from whyserve.api.middleware.keys import SCOPES, fresh
from whyserve.api.oip.infer import Infer
from whyserve.api.oip.v1 import Predict
from whyserve.api.routes.oip import oip_router
from whyserve.api.schemas.types import type_name
from whyserve.model.manifest import read_manifest

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
OIP_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/OipError"}}}
# Paths that accept tensors or rows, with the type of their answer.
PROTOCOLS = {
    "/v2/models/{model}/infer": "InferResponse",
    "/v2/models/{model}/explain": "ExplainTensorsResponse",
    "/v2/models/{model}/versions/{version}/infer": "InferResponse",
    "/v1/models/{model}:predict": "KservePredictResponse",
    "/v1/models/{model}:explain": "ExplainResponse",
}


@pytest.fixture(scope="module")
def document(client):
    return client.get("/openapi.json").raise_for_status().json()


def operations(document):
    return [(path, verb, each) for path, verbs in document["paths"].items() for verb, each in verbs.items()]


def every(part):
    """All objects in a schema, including itself."""
    if isinstance(part, dict):
        yield part
    for inside in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from every(inside)


def valid(document, name, value):
    """Validate a value against the component `name`."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def test_the_document_is_printed_without_a_service(document, artifacts, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "openapi", "--artifacts", artifacts, "--state", tmp_path / "state"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == document
    assert not (tmp_path / "state").exists()


def test_a_missing_artifact_folder_is_reported(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "openapi", "--artifacts", str(tmp_path / "none")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no such folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_operation_ids_are_short_and_unique(document):
    names = [each["operationId"] for _, _, each in operations(document)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][A-Za-z]{2,19}", name) for name in names)


def test_every_error_has_the_form_of_its_protocol(document, client):
    for path, _, each in operations(document):
        for status, response in each["responses"].items():
            if status[0] in "45":
                assert response["content"] == (OIP_ERROR if path.startswith(("/v1", "/v2")) else PROBLEM), path
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])
    for refused in (client.post("/predict", content="{"), client.post("/explain", json={}), client.get("/models/none")):
        valid(document, "Problem", refused.json())
    for refused in (client.post("/v2/models/wine/infer", content="{"), client.get("/v1/models/none")):
        valid(document, "OipError", refused.json())


def test_every_served_path_is_documented(document):
    nothing: Any = None  # never called
    served = {route.path for route in oip_router(Infer(nothing), Predict(nothing)).routes if isinstance(route, Route)}
    assert served - {"/v2/"} <= set(document["paths"])


def test_every_operation_lists_its_errors(document):
    for path, _, each in operations(document):
        statuses = set(each["responses"])
        scope = required_scope(path)
        assert ("401" in statuses) == (scope != "open"), path
        assert ("403" in statuses) == (scope not in ("open", "any")), path
        assert ("413" in statuses) == ("requestBody" in each), path
        assert ("429" in statuses) == (not path.startswith("/health/")), path
        assert {"4XX", "5XX"} <= statuses
    assert document["security"] == [{}, {"bearer": []}, {"apiKey": []}]


def test_with_keys_every_operation_names_its_scope(artifacts, start_api):
    secret, line = fresh("all", ["predict", "explain"])
    api = start_api("--keys", line)
    with api.client(headers={"X-API-Key": secret}) as client:
        document = client.get("/openapi.json").raise_for_status().json()
    assert "security" not in document
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    for path, _, each in operations(document):
        scope = required_scope(path)
        roles = [scope] if scope in SCOPES else []
        assert each["security"] == ([] if scope == "open" else [{"bearer": roles}, {"apiKey": roles}]), path


def test_nothing_is_null(document):
    assert not [part for part in every(document) if part.get("type") == "null" or "nullable" in part]


def test_every_reference_resolves(document):
    wanted = {part["$ref"] for part in every(document) if isinstance(part.get("$ref"), str)}
    given = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert wanted <= given


@pytest.mark.parametrize("union", ["PredictRequest", "PredictResponse", "ExplainRequest", "ExplainResponse"])
def test_unions_are_discriminated_by_model(union, document):
    schema = document["components"]["schemas"][union]
    assert schema["discriminator"]["propertyName"] == "model"
    mapping = schema["discriminator"]["mapping"]
    assert set(mapping) == set(shipped())
    assert [each["$ref"] for each in schema["oneOf"]] == list(mapping.values())
    for model, ref in mapping.items():
        member = document["components"]["schemas"][ref.rpartition("/")[2]]
        assert member["properties"]["model"]["const"] == model
        assert "model" in member["required"]


@pytest.mark.parametrize("model", shipped())
def test_a_row_type_describes_each_feature(model, document, artifacts):
    manifest, _ = read_manifest(artifacts / model)
    name = "".join(part.capitalize() for part in model.split("_"))
    row = document["components"]["schemas"][f"{name}Row"]
    assert set(row["required"]) == set(manifest.spec.keys) == set(row["properties"])
    for feature in (f for item in manifest.spec.inputs for f in item.features):
        shown = row["properties"][feature.name]
        assert shown.get("x-unit") == feature.unit
        assert not feature.description or feature.description in shown["description"]
        if feature.categories:
            assert shown["enum"] == list(feature.categories)
        else:
            low, high = manifest.ranges[feature.name]
            assert shown["x-range"] == [low, high]
            assert f"From {low:.6g} to {high:.6g}" in shown["description"]


@pytest.mark.parametrize("path", ["/predict", "/explain"])
@pytest.mark.parametrize("model", shipped())
def test_examples_get_answers_of_the_documented_type(path, model, document, client):
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    request = content["examples"][model]["value"]
    kind = path[1:].capitalize()
    valid(document, f"{kind}Request", request)
    answer = client.post(path, json=request)
    assert answer.status_code == 200, answer.text
    valid(document, f"{kind}Response", answer.json())


@pytest.mark.parametrize("path", PROTOCOLS)
@pytest.mark.parametrize("model", shipped())
def test_protocol_examples_get_answers_of_the_documented_type(path, model, document, client):
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    request = content["examples"][model]["value"]
    valid(document, content["schema"]["$ref"].rpartition("/")[2], request)
    answer = client.post(path.format(model=model, version=1), json=request)
    assert answer.status_code == 200, answer.text
    valid(document, PROTOCOLS[path], answer.json())


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("/v2", "ServerMetadata"),
        ("/v2/health/live", "ServerLive"),
        ("/v2/health/ready", "ServerReady"),
        ("/v2/models", "ServedModels"),
        ("/v2/models/stats", "StatisticsList"),
        ("/v2/models/wine", "ModelMetadata"),
        ("/v2/models/wine/versions/1/ready", "ModelReady"),
        ("/v2/models/wine/stats", "StatisticsList"),
        ("/v1/models", "ServedModels"),
        ("/v1/models/wine", "ModelReady"),
        *((f"/models/{model}", "ModelDescription") for model in shipped()),
    ],
)
def test_metadata_has_the_documented_type(place, name, document, client):
    valid(document, name, client.get(place).raise_for_status().json())


def test_the_repository_index_has_the_documented_type(document, client):
    for entry in client.post("/v2/repository/index", json={"ready": True}).raise_for_status().json():
        valid(document, "IndexEntry", entry)


@pytest.mark.parametrize("summary", [False, True])
@pytest.mark.parametrize("model", shipped())
def test_results_have_the_documented_type(model, summary, document, client):
    request = document["paths"]["/explain"]["post"]["requestBody"]["content"]["application/json"]["examples"][model]
    asked = {**request["value"], "summary": summary, "seed": 78}
    place = client.post("/explain", json=asked, headers={"Prefer": "respond-async"}).headers["location"]
    with client.stream("GET", f"{place}/events") as events:
        events.read()
    state = client.get(place).json()
    assert state["status"] == "done"
    valid(document, "ExplanationState", state)
    valid(document, f"{type_name(model)}{'Summary' if summary else 'Explain'}Response", state["result"])


def test_an_accepted_explanation_has_the_documented_type(document, client):
    request = document["paths"]["/explain"]["post"]["requestBody"]["content"]["application/json"]["examples"]["wine"]
    accepted = client.post("/explain", json={**request["value"], "seed": 77}, headers={"Prefer": "respond-async"})
    assert accepted.status_code == 202
    valid(document, "ExplanationState", accepted.json())
    valid(document, "ExplanationState", client.get(accepted.headers["location"]).json())
    valid(document, "ModelList", client.get("/models").json())
    valid(document, "Ready", client.get("/health/ready").json())


def test_the_docs_page_loads_nothing_from_other_servers(client):
    page = client.get("/docs")
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) >= 3
    assert not re.search(r"//[a-z]", page.text.replace("https://", "//").replace("http://", "//"))
    for link in links:
        assert link.startswith("/")
        answer = client.get(link)
        assert answer.status_code == 200, link
        assert answer.content
    assert "'/openapi.json'" in page.text
