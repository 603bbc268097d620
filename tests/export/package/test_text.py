"""A network that takes text, packaged with its tokenizer: torch and Keras, texts and ids, and faults."""

import asyncio
import json
import shutil
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

from tests.conftest import ROOT, start_service
from whyserve.api.schemas.rows import row_type
from whyserve.errors import WhyserveError
from whyserve.export.package.package import package
from whyserve.export.package.text import read_texts
from whyserve.model.manifest import read_manifest
from whyserve.model.spec import read_spec
from whyserve.model.text import text_readers
from whyserve.predict.predictor import load_predictor

WORDS = ["[PAD]", "[UNK]", "good", "bad", "film", "not", "very", "a"]
TEXTS = ["a good film", "a very bad film", "not good", "very very good", "bad", "a film"]
LABELS = ["bad", "good"]


def words(length: int | None = 5) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_padding(length=length, direction="left")
    return tokenizer


class Opinion(nn.Module):
    def __init__(self, known=8):
        super().__init__()
        self.embed, self.exit = nn.Embedding(known, 4, padding_idx=0), nn.Linear(4, 2)

    def forward(self, review):
        return torch.softmax(self.exit(torch.tanh(self.embed(review).sum(1))), 1)


def keras_opinion():
    given = keras.Input((5,), name="review", dtype="int32")
    seen = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(len(WORDS), 4)(given))
    return keras.Model(given, keras.layers.Dense(2, "softmax")(seen))


def packaged(folder, model, background: Any = TEXTS, tokenizer: Any = None, **more: Any):
    torch.manual_seed(0)
    given = {"labels": LABELS, "tokenizer": tokenizer or words(), "artifacts": folder / "artifacts", **more}
    return package(model, folder / "models" / "opinion", background=background, **given)


@pytest.mark.parametrize("build", [Opinion, pytest.param(keras_opinion, marks=pytest.mark.slow)])
def test_the_service_needs_only_the_packaged_tokenizer(build, tmp_path):
    report = str(packaged(tmp_path, build()))
    assert "inputs     review (text of 5 tokens, int" in report
    service = start_service(tmp_path / "artifacts", tmp_path / "state", models=tmp_path / "models")
    try:
        with service.client() as client:
            # Padding, then an unknown word between two known words.
            asked = {"model": "opinion", "instances": [{"review": "very strange  film"}]}
            answer = client.post("/explain", json=asked)
            assert answer.status_code == 200, answer.text
            (output,) = answer.json()["explanations"][0]["outputs"]
            shares = output["attributions"]["review"]
            assert [(t["token"], t["start"], t["end"]) for t in shares] == [
                ("[PAD]", 0, 0), ("very", 0, 4), ("[UNK]", 5, 12), ("film", 14, 18),
            ]  # fmt: skip
            total = sum(token["value"] for token in shares)
            assert output["value"] == pytest.approx(output["base_value"] + total, abs=1e-5)
            refused = client.post("/predict", json={**asked, "instances": [{"review": "strange"}]})
            assert 'instances[0]: "review" has no token that this model knows' in refused.json()["detail"]
    finally:
        assert service.stop() == 0, service.output


@pytest.mark.slow
def test_a_path_and_ids_are_accepted_and_the_longest_text_sets_the_length(tmp_path):
    words(None).save(str(tmp_path / "tokenizer.json"))
    spec = packaged(tmp_path, Opinion(), tokenizer=tmp_path / "tokenizer.json").manifest.spec
    assert (spec.inputs[0].shape, spec.inputs[0].tokenizer) == ((4,), "tokenizer.json")
    (reader,) = text_readers(spec, lambda name: (tmp_path / "models" / "opinion" / name).read_bytes()).values()
    ids = np.array([reader.ids(text) for text in TEXTS])
    again = packaged(tmp_path, Opinion(), {"review": ids})
    assert again.manifest.example["instances"] == [{"review": "a good film"}]
    assert set(again.manifest.files) >= {"tokenizer.json", "background.npz", "network.py"}


@pytest.mark.slow
def test_a_background_of_padding_is_tried_on_a_real_text(tmp_path):
    manifest = packaged(tmp_path, Opinion(), ["", "", "very good"]).manifest
    assert manifest.example["instances"] == [{"review": "very good"}]
    folder = tmp_path / "models" / "opinion"
    np.savez(folder / "background.npz", review=np.zeros((3, 5), np.int64))
    done = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "export", "--models", folder.parent, "--artifacts", tmp_path / "a"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    deep = read_manifest(tmp_path / "a" / "opinion")[0].certificate["methods"]["deep"]
    # Rows equal to the background have no attributions, so they cannot tell methods apart.
    assert deep["distance"] > 0


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A model folder, packaged once."""
    root = tmp_path_factory.mktemp("once")
    packaged(root, Opinion())
    return root / "models" / "opinion"


@pytest.fixture
def folder(once, tmp_path):
    """A copy of the model folder, to change."""
    return shutil.copytree(once, tmp_path / "models" / "opinion")


def test_a_tokenizer_in_the_folder_is_used_without_being_named(folder):
    told = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(told.replace('tokenizer = "tokenizer.json"\n', ""))
    assert read_spec(folder).inputs[0].tokenizer == "tokenizer.json"
    (folder / "tokenizer.json").unlink()
    assert read_spec(folder).inputs[0].tokenizer is None


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no tokenizer": ({"tokenizer": 3}, "int is not a tokenizer; give a tokenizers.Tokenizer"),
    "no file": ({"tokenizer": "nowhere.json"}, "the tokenizer nowhere.json cannot be read: No such file"),
    "another file": (
        {"tokenizer": ROOT / "pyproject.toml"},
        "the tokenizer: the tokenizers library cannot use this file",
    ),
    "too long": ({"background": ["very " * 6]}, 'row 0 of the background of input "review" has 6 tokens, but this'),
    "nothing known": ({"background": ["strange", ""]}, 'instances[0]: "review" has no token that this model knows'),
    "a small network": (
        {"model": Opinion(6), "background": ["good", "bad film"]},
        "gives ids up to",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_gives_one_line_and_leaves_no_folder(fault, tmp_path):
    change, said = FAULTS[fault]
    with pytest.raises(WhyserveError) as caught:
        packaged(tmp_path, **{"model": Opinion(), **change})
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert not (tmp_path / "models" / "opinion").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokenizer": '{"version": "1.0"}'}, "opinion/tokenizer.json: the tokenizers library cannot use this file"),
        ({"ids": 9}, 'opinion/background.npz: input "review" holds an id outside the range 0 to 7'),
        (
            {"toml": ('dtype = "int64"', 'dtype = "float32"')},
            "an input with a tokenizer must have kind tokens, an integer",
        ),
        ({"example": {"review": 3}}, "opinion/example.json: not a valid request for this model"),
    ],
)
def test_a_faulty_folder_is_named(change, said, folder):
    if "tokenizer" in change:
        (folder / "tokenizer.json").write_text(change["tokenizer"])
    if "ids" in change:
        np.savez(folder / "background.npz", review=np.full((3, 5), change["ids"]))
    if "toml" in change:
        (folder / "model.toml").write_text((folder / "model.toml").read_text().replace(*change["toml"]))
    if "example" in change:
        (folder / "example.json").write_text(json.dumps({"model": "opinion", "instances": [change["example"]]}))
    done = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "check", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ids_without_a_tokenizer_are_sent_as_integers(tmp_path):
    ids = np.random.default_rng(0).integers(0, 8, (20, 5))
    torch.manual_seed(0)
    made = package(
        Opinion(), tmp_path / "models" / "opinion", background=ids, labels=LABELS, kinds={"review": "tokens"},
        artifacts=tmp_path / "artifacts",
    )  # fmt: skip
    (item,) = made.manifest.spec.inputs
    assert (item.kind, item.shape, item.tokenizer) == ("tokens", (5,), None)
    assert made.manifest.example["instances"] == [{"review": ids[0].tolist()}]
    predictor = load_predictor(tmp_path / "artifacts" / "opinion", 1)
    table = predictor.table(predictor.arrays([{"review": [2, 4, 0, 0, 0]}]))
    assert predictor.outputs.predictions(table)[0]["label"] in LABELS
    assert made.manifest.vocabularies == {"review": 8}
    adapter = TypeAdapter(row_type(made.manifest))
    adapter.validate_python({"review": [0, 7, 0, 0, 0]})
    for odd in (-1, 8):
        with pytest.raises(ValidationError, match="review"):
            adapter.validate_python({"review": [0, odd, 0, 0, 0]})
    assert not asyncio.run(predictor.spans([{"review": [2, 4, 0, 0, 0]}]))


class Two:
    names = ("age", "review")


def test_of_several_inputs_the_one_with_texts_gets_the_tokenizer():
    ages = np.arange(6.0)[:, None]
    for background, kinds in (
        ({"age": ages, "review": pd.Series(TEXTS)}, {}),
        ({"age": ages, "review": pd.DataFrame({"review": TEXTS})}, {}),
        ({"age": ages, "review": np.array(TEXTS)}, {"review": "tokens"}),
    ):
        text = read_texts(words(), background, Two(), kinds)
        assert text.kinds == {"review": "tokens"}
        assert text.background["review"].shape == (6, 5)
        assert text.background["age"] is ages
        assert text.example == {"review": "a good film"}
    for wrong, said in ((ages, "give the background as a dict"), ({"age": ages, "review": ages}, "set kinds=")):
        with pytest.raises(WhyserveError, match=said):
            read_texts(words(), wrong, Two(), {})
