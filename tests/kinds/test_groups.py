"""A group of one-hot columns, explained as one feature."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.kinds.service import client_of

SPEC = """
name = "{name}"
framework = "torch"
task = "regression"
[[inputs]]
name = "x"
features = [{{ name = "mass" }}, {{ name = "length" }}]
[[inputs]]
name = "place"
{place}
[output]
names = ["age"]
scores = "values"
"""
CATEGORY = 'dtype = "int64"\nfeatures = [{ name = "island", categories = ["Biscoe", "Dream", "Torgersen"] }]'
COLUMNS = "features = [{}]".format(
    ", ".join(f'{{ name = "on_{island}", group = "island" }}' for island in ("Biscoe", "Dream", "Torgersen"))
)
LOOKED_UP = "nn.functional.embedding(place[:, 0], self.island)"
NETWORK = """
import torch
from torch import nn

class Age(nn.Module):
    def __init__(self):
        super().__init__()
        self.island = nn.Parameter(torch.zeros(3, 2))
        self.first = nn.Linear(4, 8)
        self.exit = nn.Linear(8, 1)
    def forward(self, x, place):
        at = {at}
        return self.exit(torch.tanh(self.first(torch.cat([x, at], 1))))

def build():
    return Age()
"""


def folder(root, name, place, at, rows):
    path = root / name
    path.mkdir(parents=True)
    (path / "model.toml").write_text(SPEC.format(name=name, place=place))
    (path / "network.py").write_text(NETWORK.format(at=at))
    scope: dict[str, Any] = {}
    exec(NETWORK.format(at=at), scope)
    torch.manual_seed(0)
    network = scope["build"]()
    torch.nn.init.normal_(network.island, std=2)
    save_file(network.state_dict(), path / "weights.safetensors")
    np.savez(path / "background.npz", **rows)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("groups")
    rng = np.random.default_rng(0)
    x, codes = rng.normal(size=(30, 2)).astype(np.float32), rng.integers(0, 3, size=(30, 1))
    folder(root / "models", "category", CATEGORY, LOOKED_UP, {"x": x, "place": codes})
    one_hot = np.eye(3, dtype=np.float32)[codes[:, 0]]
    folder(root / "models", "columns", COLUMNS, "place @ self.island", {"x": x, "place": one_hot})
    with client_of(root) as client:
        yield client


@pytest.mark.parametrize("method", ["exact", "permutation", "gradient"])
def test_a_group_has_the_attribution_of_the_same_category(method, client):
    common = {"mass": 0.5, "length": -1.5}
    columns = {"on_Biscoe": 0, "on_Dream": 1, "on_Torgersen": 0}
    one, other = (
        client.post("/explain", json={"model": name, "instances": [{**common, **rest}], "method": method}).json()
        for name, rest in (("category", {"island": "Dream"}), ("columns", columns))
    )
    (expected,), (output,) = (answer["explanations"][0]["outputs"] for answer in (one, other))
    assert list(output["attributions"]) == ["mass", "length", "island"]
    assert output["value"] == pytest.approx(expected["value"], abs=1e-5)
    for key, value in expected["attributions"].items():
        assert output["attributions"][key] == pytest.approx(value, abs=1e-5 if method != "gradient" else 0.02)


def test_the_api_document_separates_columns_from_groups(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert list(schemas["ColumnsAttributions"]["properties"]) == ["mass", "length", "island"]
    assert set(schemas["ColumnsRow"]["properties"]) == {"mass", "length", "on_Biscoe", "on_Dream", "on_Torgersen"}
    example = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]
    (instance,) = example["content"]["application/json"]["examples"]["columns"]["value"]["instances"]
    assert client.post("/predict", json={"model": "columns", "instances": [instance]}).status_code == 200
    assert json.dumps(instance).count("on_") == 3
