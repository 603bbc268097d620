"""Types from a background to a request: packaged, served and explained."""

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

import whyserve
from whyserve.api.schemas.rows import row_type
from whyserve.errors import InvalidInput
from whyserve.export.package.package import package

RNG = np.random.default_rng(1)


class Mixed(nn.Module):
    """A table of floats whose first column is an id, and a mask of booleans."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.city, self.exit = nn.Embedding(9, 3), nn.Linear(5, 1)

    def forward(self, x, mask):
        shown = torch.where(mask, x[:, 1:], 0.0)
        return self.exit(torch.cat([self.city(x[:, 0].long()), shown], 1)).squeeze(1)


@pytest.mark.slow
def test_ids_and_booleans_of_a_request_are_checked_and_explained(tmp_path):
    table = pd.DataFrame(
        {"city": RNG.integers(0, 9, 30).astype(float), "income": RNG.normal(size=30), "member": RNG.random(30) > 0.5}
    )
    mask = pd.DataFrame(RNG.random((30, 2)) > 0.3, columns=["income known", "member known"])
    network = Mixed()
    report = package(
        network, tmp_path / "models" / "mixed", background={"x": table, "mask": mask}, names=["y"],
        artifacts=tmp_path / "artifacts",
    )  # fmt: skip
    assert "x (3 features, float32), mask (2 features, bool)" in repr(report)
    methods = report.manifest.certificate["methods"]
    assert [name for name in methods if not methods[name]["fits"]] == ["gradient"]
    assert 'no gradient reaches ids in input "x"' in methods["gradient"]["why"]
    assert report.manifest.vocabularies == {"city": 9}
    assert report.manifest.example["instances"][0]["member"] in {True, False}

    model = whyserve.load(tmp_path / "models" / "mixed", tmp_path / "artifacts")
    records = pd.concat([table, mask], axis=1)[:4].to_dict("records")
    with torch.no_grad():
        wanted = network(torch.tensor(table[:4].to_numpy(np.float32)), torch.tensor(mask[:4].to_numpy())).numpy()
    np.testing.assert_allclose([each["value"] for each in model.predict(records)], wanted, atol=1e-6)
    exact = model.explain(records, method="exact")
    for method in ("deep", "permutation", "kernel"):
        np.testing.assert_allclose(model.explain(records, method=method).values, exact.values, atol=1e-4)

    row = TypeAdapter(row_type(report.manifest))
    sent = {"city": 3, "income": 0.5, "member": True, "income known": False, "member known": True}
    assert row.validate_python({**sent, "city": 3.0}) == sent  # JSON counts 3.0 as an integer
    schema = row.json_schema()["properties"]
    assert {"type": "integer", "minimum": 0, "maximum": 8}.items() <= schema["city"].items()
    assert schema["member"]["type"] == schema["income known"]["type"] == "boolean"
    for odd in ({"city": 1.7}, {"city": 9}, {"city": True}, {"member": 1}, {"income known": 0}):
        with pytest.raises(ValidationError):
            row.validate_python({**sent, **odd})
    with pytest.raises(InvalidInput, match='holds a fraction for "city"'):
        model.predict([{**sent, "city": 1.7}])
    with pytest.raises(InvalidInput, match='feature "city" holds an id outside the range 0 to 8'):
        model.predict([{**sent, "city": 9}])
    with pytest.raises(InvalidInput, match='row 0: "income known" must be true or false'):
        model.predict([{**sent, "income known": 2}])
