"""A client that openapi-generator makes: another maker's reading of the same document."""

import json
import sys

from openapi_generator_cli import run as generate

from tests.clients.conftest import checked
from tests.conftest import example

PROGRAM = """
import json
import sys

import whyserve_generated as made

configuration = made.Configuration(host=sys.argv[1])
with made.ApiClient(configuration) as client:
    body = made.PredictRequest(made.PenguinsPredictRequest.from_dict(json.loads(sys.argv[2])))
    predicted = made.PredictApi(client).predict(body).actual_instance
    assert isinstance(predicted, made.PenguinsPredictResponse), predicted
    asked = made.ExplainRequest(made.PenguinsExplainRequest.from_dict({**json.loads(sys.argv[2]), "seed": 3}))
    explained = made.ExplainApi(client).explain(asked).actual_instance
    assert isinstance(explained, made.PenguinsExplainResponse), explained
    output = explained.explanations[0].outputs[0]
    models = [model.name for model in made.ModelsApi(client).list_models().models]
    try:
        made.ModelsApi(client).get_model("nope")
    except made.exceptions.NotFoundException as refused:
        code = json.loads(refused.body)["code"]
    print(json.dumps([predicted.predictions[0].label, output.value, output.attributions.body_mass_g, models, code]))
"""


def test_it_predicts_explains_and_refuses(document, service, client, tmp_path):
    made = tmp_path / "made"
    properties = "packageName=whyserve_generated,generateSourceCodeOnly=true"
    done = generate(
        ["generate", "-i", str(document), "-g", "python", "-o", str(made), "--additional-properties", properties]
    )
    assert done.returncode == 0
    (tmp_path / "use.py").write_text(PROGRAM)
    request = example("penguins")
    said = checked(
        sys.executable, tmp_path / "use.py", service.address, json.dumps(request),
        cwd=tmp_path, PYTHONPATH=str(made),
    )  # fmt: skip
    label, value, share, models, code = json.loads(said)
    expected = client.post("/explain", json={**request, "seed": 3}).json()["explanations"][0]
    output = expected["outputs"][0]
    assert label == expected["prediction"]["label"]
    assert (value, share) == (output["value"], output["attributions"]["body_mass_g"])
    assert models == [model["name"] for model in client.get("/models").json()["models"]]
    assert code == "unknown_model"
