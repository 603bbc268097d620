"""model.toml: what it may contain, and the one-line message for each fault."""

from pathlib import Path

import pytest

from tests.conftest import MODELS, shipped
from whyserve.errors import ModelFault
from whyserve.model.builds import model_folders
from whyserve.model.spec import read_spec

GOOD = """
name = "m"
framework = "torch"
task = "classification"
[[inputs]]
name = "x"
features = [{ name = "a" }, { name = "b" }]
[[inputs]]
name = "c"
dtype = "int64"
features = [{ name = "island", categories = ["Biscoe", "Dream"] }]
[[inputs]]
name = "image"
kind = "image"
shape = [2, 2, 1]
[output]
labels = ["no", "yes"]
"""


def write(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.toml").write_text(text)
    return folder


def test_the_keys_are_the_features_and_the_other_inputs(tmp_path):
    spec = read_spec(write(tmp_path, GOOD))
    assert spec.keys == ("a", "b", "island", "image")
    assert [item.row_shape for item in spec.inputs] == [(2,), (1,), (2, 2, 1)]
    assert spec.accepts_width(2)
    assert spec.accepts_width(1), "two labels may share a sigmoid"
    assert not spec.accepts_width(3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[output]", "[output"), "m/model.toml: not valid TOML"),
        (('name = "m"', 'name = "n"'), 'm/model.toml: name is "n", but the folder is "m"'),
        (('"torch"', '"jax"'), "m/model.toml: framework: Input should be 'keras', 'torch' or 'onnx'"),
        (("framework", "frame"), "m/model.toml: framework: Field required"),
        (('labels = ["no", "yes"]', 'labels = ["no"]'), "at least two"),
        (('labels = ["no", "yes"]', 'labels = ["no", "no"]'), 'the label "no" appears twice'),
        (('labels = ["no", "yes"]', 'names = ["y"]'), "a classification needs at least two output.labels"),
        (('task = "classification"', 'task = "regression"'), "a regression needs output.names"),
        (
            ('labels = ["no", "yes"]', 'labels = ["no", "yes"]\nthresholds = [0.2, 0.3]'),
            'thresholds needs task = "multi',
        ),
        (('name = "b"', 'name = "a"'), 'the feature or input name "a" appears twice'),
        (('name = "b"', 'name = "b", group = "a"'), 'the group "a" has the name of a feature or an input'),
        (('"Dream"', '"Biscoe"'), 'the category of "island": "Biscoe" appears twice'),
        (('dtype = "int64"', 'dtype = "float32"'), "need an input of integer dtype"),
        (("shape = [2, 2, 1]", "shape = [2, 0]"), "inputs.2.shape.1"),
        (("shape = [2, 2, 1]", "shape = [2, 2, 1]\nrange = [1, 0]"), "range = [black, white]"),
        (('dtype = "int64"', 'dtype = "int64"\nrange = [0, 1]'), "range = [black, white]"),
        (("shape = [2, 2, 1]", ""), "an input of kind image must have a shape"),
        (('labels = ["no", "yes"]', 'labels = ["no", "yes"]\ncolour = 1'), "output.colour: Extra inputs"),
        (('name = "m"', 'name = "stats"'), 'the model name "stats" is reserved'),
        (
            ("[output]", '[explain.backgrounds]\nrequest = "x.npz"\n[output]'),
            'the background name "request" is reserved',
        ),
        (("[output]", '[explain.backgrounds]\n"A b" = "x.npz"\n[output]'), "explain.backgrounds.A b"),
        (("[output]", "[explain]\nsamples = 4\n[output]"), 'samples needs a method that samples; method is "auto"'),
        (("[output]", '[explain]\nmethod = "deep"\nsamples = 4\n[output]'), "samples needs a method that samples"),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(tmp_path, change, words):
    with pytest.raises(ModelFault) as caught:
        read_spec(write(tmp_path, GOOD.replace(*change)))
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_a_folder_without_models_is_a_fault(tmp_path):
    with pytest.raises(ModelFault, match=r"no folder in it holds a model\.toml"):
        model_folders(tmp_path, "model.toml")
    with pytest.raises(ModelFault, match="no such folder"):
        model_folders(tmp_path / "none", "model.toml")


def test_every_shipped_feature_is_described():
    for name in shipped():
        spec = read_spec(MODELS / name)
        assert spec.score, name
        assert spec.description
        assert spec.source
        for item in spec.inputs:
            assert all(feature.description for feature in item.features), name
