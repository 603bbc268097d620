"""Requests generated from the OpenAPI document, as it has them and bent: an answer each, and never a fault of ours."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import hypothesis
import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck
from schemathesis import Case, GenerationMode

from tests.conftest import ROOT, Running, start_service

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(900)]

AS_IT_HAS_IT, BENT = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
# How many requests to make of each operation that takes anything. WHYSERVE_FUZZ multiplies them. What is asked by
# its name alone cannot be bent: every name is one.
REQUESTS = {
    ("predict", AS_IT_HAS_IT): 1000,
    ("predict", BENT): 1300,
    ("explain", AS_IT_HAS_IT): 500,
    ("explain", BENT): 1200,
    ("getModel", AS_IT_HAS_IT): 300,
    ("getExplanation", AS_IT_HAS_IT): 250,
    ("cancelExplanation", AS_IT_HAS_IT): 250,
    ("followExplanation", AS_IT_HAS_IT): 200,
}
# Members of the unions to draw from: numbers, categories, a nested shape. Drawing thirty features takes long.
DRAWN = ("linear", "penguins", "sunspots")
ANSWER_S = 60.0
# What would tell of the inside: code, its frames, its files.
INSIDE = ("Traceback", 'File "', ".py", "site-packages", str(ROOT), "pydantic", "starlette")


@pytest.fixture(scope="module")
def fuzzed(artifacts: Path, tmp_path_factory: pytest.TempPathFactory):
    """A service of its own: what is asked of it may take long, and is cancelled."""
    limits = ["--max-instances", "50", "--max-summary-rows", "60", "--explain-wait-s", "2"]
    service = start_service(artifacts, tmp_path_factory.mktemp("state"), *limits)
    service.await_line(r"ready on ")
    yield service
    assert service.stop() == 0, service.output
    # No worker was lost, and nothing was said of any fault.
    assert "died" not in service.output
    assert "Traceback" not in service.output
    assert '"level": "error"' not in service.output


@pytest.fixture(scope="module")
def document(fuzzed: Running):
    return requests.get(f"{fuzzed.address}/openapi.json", timeout=ANSWER_S).json()


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with some members of its unions only."""
    document = copy.deepcopy(document)
    for union in ("PredictRequest", "ExplainRequest"):
        schema = document["components"]["schemas"][union]
        mapping = {name: ref for name, ref in schema["discriminator"]["mapping"].items() if name in DRAWN}
        schema["discriminator"]["mapping"] = mapping
        schema["oneOf"] = [{"$ref": ref} for ref in mapping.values()]
    return document


def check(answer: requests.Response, case: Case[Any], document):
    assert answer.elapsed.total_seconds() < ANSWER_S
    text = answer.text
    if answer.status_code >= 500:
        # Whoever asks for less time than anything takes is told that it was not enough.
        body = case.body
        assert answer.status_code == 504, (answer.status_code, text)
        assert isinstance(body, dict), text
        assert "deadline_s" in body, text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", text
        schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json())
        assert answer.json()["status"] == answer.status_code
        assert not [word for word in INSIDE if word in text], text
        assert len(text) < 20_000


def call(session: requests.Session, case: Case[Any], address: str) -> requests.Response:
    sent = case.as_transport_kwargs(base_url=address)
    answer = session.request(**sent, timeout=ANSWER_S)
    if answer.status_code == 202:
        session.delete(f"{address}/explanations/{answer.json()['id']}", timeout=ANSWER_S).raise_for_status()
    return answer


@pytest.mark.parametrize(("name", "mode"), REQUESTS)
def test_generated_requests_are_answered(name, mode, fuzzed, document):
    schema = schemathesis.openapi.from_dict(narrowed(document))
    operation = schema.find_operation_by_id(name)
    wanted = round(REQUESTS[name, mode] * float(os.environ.get("WHYSERVE_FUZZ", "1")))
    statuses: list[int] = []

    with requests.Session() as session:
        session.trust_env = False

        @hypothesis.settings(
            max_examples=wanted, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck), phases=[hypothesis.Phase.generate],
        )  # fmt: skip
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case[Any]) -> None:
            answer = call(session, case, fuzzed.address)
            statuses.append(answer.status_code)
            check(answer, case, document)

        ask()
        assert session.get(f"{fuzzed.address}/health/live", timeout=ANSWER_S).json() == {"status": "live"}
    assert len(statuses) >= wanted, json.dumps(sorted(set(statuses)))


def test_there_are_enough_of_them():
    assert sum(REQUESTS.values()) >= 5000
