"""Requests generated from the OpenAPI document, valid and mutated. Each gets an answer, and never a 5xx."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jsonschema
import pytest
import requests
import schemathesis
from schemathesis import Case, GenerationMode

from tests.api.fuzzing import SHARE, bounded, gives_away, with_something_long
from tests.conftest import Running, start_service

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(900)]

AS_IT_HAS_IT, BENT = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
# How many requests to make of each operation that takes anything; of what unloads models, none. WHYSERVE_FUZZ
# multiplies them. What is asked by its name alone cannot be bent: every name is one.
REQUESTS = {
    ("predict", AS_IT_HAS_IT): 1000,
    ("predict", BENT): 1300,
    ("explain", AS_IT_HAS_IT): 500,
    ("explain", BENT): 1200,
    ("counterfactual", AS_IT_HAS_IT): 200,
    ("counterfactual", BENT): 500,
    ("getModel", AS_IT_HAS_IT): 300,
    ("getExplanation", AS_IT_HAS_IT): 250,
    ("cancelExplanation", AS_IT_HAS_IT): 250,
    ("followExplanation", AS_IT_HAS_IT): 200,
    ("infer", AS_IT_HAS_IT): 300,
    ("infer", BENT): 500,
    ("inferVersion", BENT): 200,
    ("explainTensors", AS_IT_HAS_IT): 200,
    ("explainTensors", BENT): 300,
    ("explainVersion", BENT): 100,
    ("kservePredict", AS_IT_HAS_IT): 200,
    ("kservePredict", BENT): 400,
    ("kserveExplain", AS_IT_HAS_IT): 200,
    ("kserveExplain", BENT): 400,
    ("modelMetadata", BENT): 50,
    ("versionReady", BENT): 50,
    ("versionStatistics", BENT): 50,
    ("repositoryIndex", AS_IT_HAS_IT): 50,
    ("repositoryIndex", BENT): 100,
    ("loadModel", AS_IT_HAS_IT): 50,
}
# Members of the unions to draw from: numbers, categories, a nested shape, text. Drawing thirty features takes long.
DRAWN = ("linear", "penguins", "sunspots", "places")
ANSWER_S = 60.0


@pytest.fixture(scope="module")
def fuzzed(artifacts: Path, tmp_path_factory: pytest.TempPathFactory):
    """A separate service, because the requests may take long and are cancelled."""
    limits = ["--max-instances", "50", "--max-summary-rows", "60", "--explain-wait-s", "2"]
    service = start_service(artifacts, tmp_path_factory.mktemp("state"), *limits)
    service.await_line(r"ready on ")
    yield service
    assert service.stop() == 0, service.output
    # No worker was lost, and no error was logged.
    assert "died" not in service.output
    assert "Traceback" not in service.output
    assert '"level": "error"' not in service.output


@pytest.fixture(scope="module")
def document(fuzzed: Running):
    return requests.get(f"{fuzzed.address}/openapi.json", timeout=ANSWER_S).json()


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with some members of its unions only, and in the protocols one model, whose rows are told."""
    document = copy.deepcopy(document)
    schemas = document["components"]["schemas"]
    for union in ("PredictRequest", "ExplainRequest", "CounterfactualRequest"):
        schema = schemas[union]
        mapping = {name: ref for name, ref in schema["discriminator"]["mapping"].items() if name in DRAWN}
        schema["discriminator"]["mapping"] = mapping
        schema["oneOf"] = [{"$ref": ref} for ref in mapping.values()]
    schemas["ModelName"]["enum"] = ["linear"]
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "version":
                    parameter["schema"] = {"type": "string", "enum": ["1", "2"]}
    tensor = schemas["Tensor"]["properties"]
    tensor["name"]["enum"], tensor["shape"]["enum"] = ["x"], [[1, 2], [2, 1], [2, 2]]
    tensor["datatype"]["enum"] = ["FP32", "FP64", "BYTES"]
    tensor["data"] = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 4}
    numbers = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    for kind in ("KservePredictRequest", "KserveExplainRequest"):
        rows = schemas[kind]["properties"]["instances"]
        rows["items"] = {"anyOf": [{"$ref": "#/components/schemas/LinearRow"}, numbers]}
    return document


def check(answer: requests.Response, case: Case[Any], document):
    assert answer.elapsed.total_seconds() < ANSWER_S
    text = answer.text
    if answer.status_code < 400:
        return
    if answer.status_code >= 500:
        allowed(answer, case)
    oip = case.operation.path.startswith(("/v1", "/v2"))
    assert answer.headers["content-type"] == ("application/json" if oip else "application/problem+json"), text
    name = "OipError" if oip else "Problem"
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer.json())
    assert oip or answer.json()["status"] == answer.status_code
    assert not gives_away(text, [case.body, dict(case.path_parameters or {}), dict(case.headers or {})]), text
    assert len(text) < 20_000


def allowed(answer: requests.Response, case: Case[Any]) -> None:
    """Whoever asks for less time than anything takes is told so; and who cannot be told "later", where it will be."""
    if answer.status_code == 503:
        assert "GET /explanations/" in answer.text, answer.text
        return
    body = case.body
    assert answer.status_code == 504, (answer.status_code, answer.text)
    assert isinstance(body, dict), answer.text
    parameters = body.get("parameters")
    assert "deadline_s" in body or (isinstance(parameters, dict) and "deadline_s" in parameters), answer.text


def call(session: requests.Session, case: Case[Any], address: str) -> requests.Response:
    sent = case.as_transport_kwargs(base_url=address)
    answer = session.request(**sent, timeout=ANSWER_S)
    # Abandoned jobs would delay the next requests.
    if answer.status_code == 202:
        session.delete(f"{address}/explanations/{answer.json()['id']}", timeout=ANSWER_S).raise_for_status()
    if later := answer.status_code == 503 and re.search(r"GET (/explanations/\w+)", answer.text):
        session.delete(address + later[1], timeout=ANSWER_S).raise_for_status()
    return answer


@st.composite
def cases(draw: st.DrawFn, operation: Any, mode: GenerationMode) -> Case[Any]:
    """As schemathesis makes them; of those bent, some with something long in them."""
    case: Case[Any] = draw(operation.as_strategy(generation_mode=mode))
    if mode is BENT and isinstance(case.body, dict | list) and draw(st.integers(0, 3)) == 0:
        case.body = draw(with_something_long(case.body))
    return case


@pytest.mark.parametrize(("name", "mode"), REQUESTS)
def test_generated_requests_are_answered(name, mode, fuzzed, document):
    schema = schemathesis.openapi.from_dict(narrowed(document))
    operation = schema.find_operation_by_id(name)
    statuses: list[int] = []

    with requests.Session() as session:
        session.trust_env = False

        @bounded(REQUESTS[name, mode])
        @hypothesis.given(case=cases(operation, mode))
        def ask(case: Case[Any]) -> None:
            answer = call(session, case, fuzzed.address)
            statuses.append(answer.status_code)
            check(answer, case, document)

        ask()
        assert session.get(f"{fuzzed.address}/health/live", timeout=ANSWER_S).json() == {"status": "live"}
    print(name, mode.value, {status: statuses.count(status) for status in sorted(set(statuses))})
    assert len(statuses) >= round(REQUESTS[name, mode] * SHARE) // 2, json.dumps(sorted(set(statuses)))


def test_the_number_of_generated_requests():
    assert sum(REQUESTS.values()) >= 5000
