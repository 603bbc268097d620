"""A client that openapi-python-client generates: typed for every model, and mypy knows it."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import checked
from tests.conftest import example, shipped
from whyserve.api.schemas.types import type_name
from whyserve.jobs import new_id
from whyserve.model.manifest import read_manifest

PROGRAM = """
import json
import sys

from whyserve_client import Client
from whyserve_client.api.explain import explain
from whyserve_client.api.predict import predict
from whyserve_client.models import {name}ExplainRequest, {name}ExplainResponse, {name}PredictRequest
from whyserve_client.models import {name}PredictResponse, {name}Row, Problem

client = Client(base_url=sys.argv[1])
rows = [{name}Row.from_dict(row) for row in json.loads(sys.argv[2])]

predicted = predict.sync(client=client, body={name}PredictRequest(model="{model}", instances=rows))
assert isinstance(predicted, {name}PredictResponse), predicted
prediction = predicted.predictions[0]
{prediction}

explained = explain.sync(client=client, body={name}ExplainRequest(model="{model}", instances=rows, seed=3))
assert isinstance(explained, {name}ExplainResponse), explained
output = explained.explanations[0].outputs[0]
share = {share}
base: float = output.base_value
residual: float = output.residual
print(json.dumps([answer, output.value, base, share, residual]))

# What is not a key of this model is not in its types.
rows[0].no_such_feature  # type: ignore[attr-defined]
output.attributions.no_such_feature  # type: ignore[attr-defined]
"""
REFUSED = """
import sys

from whyserve_client import Client
from whyserve_client.api.predict import predict
from whyserve_client.models import LinearPredictRequest, LinearRow, Problem

client = Client(base_url=sys.argv[1])
body = LinearPredictRequest(model="linear", instances=[LinearRow(bmi=1e300, bp=90.0)])
refused = predict.sync(client=client, body=body)
assert isinstance(refused, Problem), refused
assert not isinstance(refused.errors, type(None))
code: str = refused.code
print(code, refused.status)
"""
# What has a type though it is of any model: a result that was not waited for, a manifest, tensors.
OTHERS = """
import json
import sys
import time

from whyserve_client import Client
from whyserve_client.api.explain import explain, get_explanation
from whyserve_client.api.models import get_model
from whyserve_client.api.oip import infer
from whyserve_client.models import ExplanationState, InferRequest, InferResponse, JobStatus, ModelDescription, ModelName
from whyserve_client.models import LinearExplainRequest, LinearExplainResponse, LinearRow, OipError

client = Client(base_url=sys.argv[1])
body = LinearExplainRequest(model="linear", instances=[LinearRow(bmi=36.1, bp=90.0)], seed=4)
state = explain.sync(client=client, body=body, prefer="respond-async", idempotency_key=sys.argv[2])
while isinstance(state, ExplanationState) and state.status in (JobStatus.QUEUED, JobStatus.RUNNING):
    time.sleep(0.05)
    state = get_explanation.sync(state.id, client=client)
assert isinstance(state, ExplanationState), state
assert isinstance(state.result, LinearExplainResponse), state
share: float = state.result.explanations[0].outputs[0].attributions.bmi

described = get_model.sync("linear", client=client)
assert isinstance(described, ModelDescription), described
default: str = described.certificate.default
kind: str = described.spec.inputs[0].kind.value

tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [36.1, 90.0]}
request = InferRequest.from_dict({"inputs": [tensor]})
inferred = infer.sync(ModelName.LINEAR, client=client, body=request)
assert isinstance(inferred, InferResponse), inferred
request.inputs[0].name = "y"
refused = infer.sync(ModelName.LINEAR, client=client, body=request)
assert isinstance(refused, OipError), refused
print(json.dumps([share, default, kind, inferred.outputs[0].data, refused.error]))
"""


@pytest.fixture(scope="module")
def generated(document, tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("python")
    tool = Path(sys.executable).parent / "openapi-python-client"
    # It formats with ruff, which stands beside it.
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    said = checked(tool, "generate", "--path", document, "--output-path", folder / "made", cwd=folder, PATH=path)
    assert "warning" not in said.lower(), said
    return folder / "made"


def program(model, artifacts):
    manifest, _ = read_manifest(artifacts / model)
    spec = manifest.spec
    if spec.task == "classification":
        prediction = "answer: float = max(prediction.scores.to_dict().values())\nlabel: str = prediction.label.value"
    elif len(spec.output.names) == 1:
        prediction = "answer: float = prediction.value"
    else:
        prediction = f"answer: float = prediction.values.{spec.output.names[0]}"
    share = f"output.attributions.{spec.keys[0]}"
    if spec.inputs[0].tokenizer:
        share = f"[[token.token, token.start, token.end, token.value] for token in {share}]"
    return PROGRAM.format(name=type_name(model), model=model, prediction=prediction, share=share)


def run(generated, file, *arguments):
    return checked(sys.executable, generated.parent / file, *arguments, cwd=generated, PYTHONPATH=str(generated))


def test_programs_for_every_model_are_clean_in_mypy(generated, artifacts):
    for model in shipped():
        (generated.parent / f"use_{model}.py").write_text(program(model, artifacts))
    (generated.parent / "use_refused.py").write_text(REFUSED)
    (generated.parent / "use_others.py").write_text(OTHERS)
    files = sorted(generated.parent.glob("use_*.py"))
    assert len(files) == len(shipped()) + 2
    checked(
        sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={generated.parent / 'cache'}", *files,
        cwd=generated.parent, MYPYPATH=str(generated),
    )  # fmt: skip


@pytest.mark.parametrize("model", shipped())
def test_it_predicts_and_explains(model, generated, artifacts, service, client):
    request = example(model)
    text = program(model, artifacts).split("# What is not a key")[0]
    (generated.parent / f"run_{model}.py").write_text(text)
    said = run(generated, f"run_{model}.py", service.address, json.dumps(request["instances"]))
    answer, value, base, share, residual = json.loads(said)
    expected = client.post("/explain", json={**request, "seed": 3}).json()["explanations"][0]
    output = expected["outputs"][0]
    first = next(iter(output["attributions"].values()))
    if isinstance(first, list) and isinstance(first[0], dict):
        first = [[token["token"], token["start"], token["end"], token["value"]] for token in first]
    assert [value, base, share, residual] == [output["value"], output["base_value"], first, output["residual"]]
    prediction = expected["prediction"]
    assert answer == (prediction["value"] if "value" in prediction else max(prediction["scores"].values()))


def test_what_is_refused_is_a_problem_with_its_type(generated, service):
    (generated.parent / "use_refused.py").write_text(REFUSED)
    assert run(generated, "use_refused.py", service.address).split() == ["invalid_input", "422"]


def test_what_is_of_any_model_has_its_type_too(generated, service, client):
    (generated.parent / "use_others.py").write_text(OTHERS)
    said = run(generated, "use_others.py", service.address, new_id())
    share, default, kind, (value,), error = json.loads(said)
    request = {"model": "linear", "instances": [{"bmi": 36.1, "bp": 90.0}], "seed": 4}
    explained = client.post("/explain", json=request).json()["explanations"][0]
    assert share == explained["outputs"][0]["attributions"]["bmi"]
    assert value == pytest.approx(explained["prediction"]["value"], rel=1e-6)
    assert (default, kind) == (client.get("/models/linear").json()["certificate"]["default"], "tabular")
    assert error == "inputs[0]: the model has no such input; it has x"
