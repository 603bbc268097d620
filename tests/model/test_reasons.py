"""[reasons] of model.toml: a fault names the place, and no feature is without a text."""

import tomllib

import pytest

from tests.conftest import MODELS
from whyserve.errors import ModelFault
from whyserve.export.sources import read_source
from whyserve.model.reasons import read_languages
from whyserve.model.spec import ModelSpec, read_spec

NAME = "penguins"
FAULTS = {
    "no text": ("body_mass_g = { code", "#", 'reasons.texts: "body_mass_g" has no text'),
    "unknown text": ("body_mass_g = { code", "weight = { code", 'reasons: "weight" is neither'),
    "unknown never": ('never = ["sex"]', 'never = ["sex", "age"]', 'reasons: "age" is neither'),
    "background": ('background = "adelie"', 'background = "approved"', "reasons.background is not a background"),
    "outcome": ('against = "Gentoo"', 'against = "Emperor"', "its outputs: Adelie, Chinstrap, Gentoo"),
    "below": ("most = 3", "below = true", "reasons.threshold is missing"),
    "most": ("most = 3", "most = 0", "reasons.most"),
    "sentence": ("Gentoo, mainly for these reasons: {reasons}.", "Gentoo.", "reasons.sentence"),
    "language": ('de = "reasons', 'en = "reasons', "is the language of model.toml"),
}


def copied(tmp_path, file, old, new):
    folder = tmp_path / NAME
    folder.mkdir()
    for path in (MODELS / NAME).iterdir():
        if path.is_file():
            content = path.read_bytes()
            (folder / path.name).write_bytes(
                content.replace(old.encode(), new.encode(), 1) if path.name == file else content
            )
    return folder


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_refused_at_export(case, tmp_path):
    old, new, words = FAULTS[case]
    folder = copied(tmp_path, "model.toml", old, new)
    with pytest.raises(ModelFault) as caught:
        read_source(folder)
    assert words in caught.value.message
    assert caught.value.message.startswith("penguins/model.toml: ")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("body_mass_g", "weight", '"weight" is neither'),
        ("body_mass_g = ", "# ", '"body_mass_g" has no text'),
        ("otherwise", "sonst", "sonst: "),
        ("[texts]", "[texts", "TOMLDecodeError"),
    ],
)
def test_a_fault_of_another_language_names_its_file(old, new, words, tmp_path):
    folder = copied(tmp_path, "reasons.de.toml", old, new)
    with pytest.raises(ModelFault) as caught:
        read_source(folder)
    assert caught.value.message.startswith("penguins/reasons.de.toml: ")
    assert words in caught.value.message


def test_a_missing_file_of_texts_is_named(tmp_path):
    folder = copied(tmp_path, "", "", "")
    (folder / "reasons.de.toml").unlink()
    with pytest.raises(ModelFault, match=r"penguins/reasons\.de\.toml"):
        read_source(folder)


def test_reasons_need_tables_and_a_threshold_for_a_regression():
    spec = tomllib.loads((MODELS / "sunspots" / "model.toml").read_text())
    spec["reasons"] = {"against": "next_year", "texts": {}}
    with pytest.raises(ValueError, match="all tabular"):
        ModelSpec.model_validate(spec)
    spec = tomllib.loads((MODELS / "linear" / "model.toml").read_text())
    spec["reasons"] = {"against": "progression", "never": ["bmi", "bp"], "texts": {}}
    with pytest.raises(ValueError, match=r"reasons\.threshold is missing"):
        ModelSpec.model_validate(spec)
    spec["reasons"]["threshold"] = 150
    reasons = ModelSpec.model_validate(spec).reasons
    assert reasons
    assert reasons.most == 4


def test_each_language_has_its_texts():
    found = read_languages(read_spec(MODELS / NAME), lambda name: (MODELS / NAME / name).read_bytes())
    assert list(found) == ["en", "de"]
    assert found["en"].texts.keys() == found["de"].texts.keys()
    assert found["de"].sentence.startswith("Er ist")
