"""Files that make a library panic, recurse or fill the memory are faults that name the file."""

import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest

from tests.export.folders import torch_folder
from whyserve.errors import InvalidInput, ModelFault
from whyserve.export.sources import read_source
from whyserve.model.arrays import read_npz
from whyserve.model.input_spec import InputSpec
from whyserve.model.spec import read_spec
from whyserve.model.text import TextReader

TOKENIZER: dict[str, Any] = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"},
}  # fmt: skip
PANICS: dict[str, dict[str, Any]] = {
    "at load": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "at any text": {
        "post_processor": {
            "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}], "pair": [],
            "special_tokens": {},
        }
    },
    "at long texts": {"truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 5}},
}  # fmt: skip


def reader(**change: object) -> TextReader:
    item = InputSpec(name="x", kind="tokens", shape=(8,), dtype="int64", tokenizer="tokenizer.json")
    return TextReader(item, json.dumps({**TOKENIZER, **change}).encode(), "m/tokenizer.json")


@pytest.mark.parametrize("case", PANICS)
def test_a_tokenizer_that_panics_is_a_fault_of_the_model(case):
    with pytest.raises(ModelFault, match=r"^m/tokenizer\.json: the tokenizers library cannot use this file: Panic"):
        reader(**PANICS[case])


def test_a_tokenizer_that_fails_on_one_text_only_serves_the_others():
    model = {"type": "WordPiece", "unk_token": "[NO]", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 100, "vocab": {"[PAD]": 0, "a": 1}}  # fmt: skip
    made = reader(model=model)
    assert made.ids("a") == [1, 0, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ModelFault, match=r"^m/tokenizer\.json: .*WordPiece error"):
        made.ids("b")


def bomb(declared: int) -> bytes:
    """An .npz file of few bytes, with an array of zeros of this many bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file, file.open("x.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (declared,)})
        zeros = bytes(1 << 24)
        for _ in range(min(declared, 1 << 28) >> 24):
            member.write(zeros)
    return made.getvalue()


@pytest.mark.parametrize("declared", [1 << 62, 1 << 50])
def test_an_array_larger_than_the_memory_is_refused(declared):
    with pytest.raises(InvalidInput, match=r"its arrays need too much memory|not an \.npz file"):
        read_npz(bomb(declared))


def test_arrays_that_unpack_to_too_much_are_refused_before_they_are_unpacked(monkeypatch):
    monkeypatch.setattr("whyserve.model.arrays.MOST_BYTES", 1 << 27)
    content = bomb(1 << 28)
    assert len(content) < 1 << 19
    with pytest.raises(InvalidInput, match="its arrays need too much memory; at most 0 GiB are read"):
        read_npz(content)


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 100_000, "x = " + "{a=" * 100_000, "x = " + "9" * 10_000], ids=["lists", "tables", "digits"]
)
def test_a_toml_file_that_cannot_be_parsed_is_a_fault_of_the_model(text, tmp_path):
    (torch_folder(tmp_path, "small") / "model.toml").write_text(text)
    with pytest.raises(ModelFault, match=r"^small/model\.toml: not valid TOML: "):
        read_spec(tmp_path / "small")


def test_a_deeply_nested_example_is_a_fault_of_the_model(tmp_path):
    (torch_folder(tmp_path, "small") / "example.json").write_text("[" * 100_000)
    with pytest.raises(ModelFault, match=r"^small/example\.json: "):
        read_source(tmp_path / "small")
