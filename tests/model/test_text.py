"""Texts and their tokens, with small tokenizers of several types."""

from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from whyserve.errors import InvalidInput, ModelFault
from whyserve.model.input_spec import InputSpec
from whyserve.model.text import TextReader, TokenSpans, check_ids, most_letters

WORDS = ["[PAD]", "[UNK]", "[CLS]", "une", "île", "de", "france", "▁"]


def item(length=6, dtype: Any = "int64"):
    return InputSpec(name="text", kind="tokens", dtype=dtype, shape=(length,), tokenizer="tokenizer.json")


def words(**padding) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if padding:
        tokenizer.enable_padding(**padding)
    return tokenizer


def reader(tokenizer: Tokenizer | None = None, **more) -> TextReader:
    return TextReader(item(**more), (tokenizer or words()).to_str().encode(), "m/tokenizer.json")


def test_all_padding_is_one_token_with_one_value():
    read = reader()
    assert read.ids("Une ÎLE") == [3, 4, 0, 0, 0, 0]
    spans = read.spans("Une ÎLE")
    assert spans == TokenSpans(
        tokens=(("une", 0, 3), ("île", 4, 7), ("[PAD]", 7, 7)),
        places=(0, 1, 2, 2, 2, 2),
        words=(0, 1, None),
        text="Une ÎLE",
    )
    described = spans.described([0.5, -1.0, 0.25, 0.25, 0.5, 1.0])
    assert [each["value"] for each in described] == [0.5, -1.0, 2.0]
    assert described[2] == {"token": "[PAD]", "start": 7, "end": 7, "value": 2.0}


def test_a_text_as_long_as_the_input_has_no_padding():
    spans = reader(length=2).spans("Une île")
    assert [token for token, _, _ in spans.tokens] == ["une", "île"]
    assert [each["value"] for each in spans.described([1.0, 2.0])] == [1.0, 2.0]


def test_padding_has_the_token_and_the_side_of_the_tokenizer():
    read = reader(words(direction="left", pad_id=7, pad_token="▁", length=50))
    assert read.ids("une île") == [7, 7, 7, 7, 3, 4]
    assert read.spans("une île").tokens[0] == ("▁", 0, 0)
    assert [each["value"] for each in read.spans("une île").described([1, 2, 3, 4, 5, 6])] == [10, 5, 6]


def test_special_tokens_are_explained_but_are_no_known_words():
    tokenizer = words()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    read = reader(tokenizer)
    assert read.spans("de").tokens == (("[CLS]", 0, 0), ("de", 0, 2), ("[PAD]", 2, 2))
    with pytest.raises(InvalidInput, match="has no token that this model knows"):
        read.ids("der")


def test_positions_are_code_points_and_include_accents():
    text = "  Une i\u0302le \U0001f1eb\U0001f1f7 de"
    tokens = reader(words()).spans(text).tokens
    assert [text[start:end] for _, start, end in tokens] == ["Une", "i\u0302le", "\U0001f1eb\U0001f1f7", "de", ""]
    # An accent at the end of the text belongs to the last token.
    assert reader().spans("une i\u0302le de\u0301").tokens[2] == ("[UNK]", 9, 12)


def test_a_long_text_is_refused_unless_the_tokenizer_truncates_it():
    with pytest.raises(InvalidInput, match="has 7 tokens, but this model takes at most 6; shorten it"):
        reader().ids("une " * 7)
    tokenizer = words()
    tokenizer.enable_truncation(3)
    assert reader(tokenizer).ids("une " * 7) == [3, 3, 3, 0, 0, 0]
    assert reader(tokenizer).spans("une " * 7).places == (0, 1, 2, 3, 3, 3)
    with pytest.raises(InvalidInput, match=f"must have at most {most_letters(item())} characters"):
        reader(tokenizer).ids("une " * 49)


@pytest.mark.parametrize("text", ["", " ", "zwei", "[PAD]", "[UNK] [PAD]", "▁"])
def test_a_text_without_known_tokens_is_refused_unless_known_is_false(text):
    with pytest.raises(InvalidInput, match="has no token that this model knows"):
        reader().ids(text)
    assert len(reader().ids(text, known=False)) == 6
    assert not reader().knows(text)


def test_subword_tokenizers_are_supported():
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁a", -1.0), ("b", -1.0)], unk_id=0))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    read = reader(unigram)
    assert read.ids("ab c") == [1, 2, *read.ids("ab c")[2:]]
    with pytest.raises(InvalidInput, match="has no token"):
        read.ids("cc")
    piece = Tokenizer(models.WordPiece({"[UNK]": 0, "play": 1, "##ed": 2, "[PAD]": 3}, unk_token="[UNK]"))
    piece.pre_tokenizer = pre_tokenizers.Whitespace()
    piece.enable_padding(pad_id=3)
    spans = reader(piece).spans("played")
    assert spans.tokens == (("play", 0, 4), ("##ed", 4, 6), ("[PAD]", 6, 6))
    # A byte-level tokenizer knows every byte.
    by_byte = Tokenizer(models.BPE({letter: i for i, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    by_byte.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert [(start, end) for _, start, end in reader(by_byte).spans("é€").tokens[:5]] == [(0, 1)] * 2 + [(1, 2)] * 3


def test_ids_outside_the_vocabulary_are_refused():
    check_ids([item()], {"text": reader().vocabulary}, {"text": np.array([[0, 7]])})
    for odd in (-1, 8):
        with pytest.raises(InvalidInput, match='input "text" holds an id outside the range 0 to 7'):
            check_ids([item()], {"text": reader().vocabulary}, {"text": np.array([[0, odd]])})
    assert reader().text([3, 4, 0, 0]) == "une île"


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"[]", b'{"model": {}}'])
def test_an_invalid_tokenizer_file_is_named(content):
    with pytest.raises(ModelFault, match=r"m/tokenizer\.json: the tokenizers library cannot use this file"):
        TextReader(item(), content, "m/tokenizer.json")


def test_ids_must_fit_the_dtype_of_the_input():
    many = Tokenizer(models.WordLevel({str(i): i for i in range(129)}, unk_token="0"))
    with pytest.raises(ModelFault, match=r"m/tokenizer\.json: has ids up to 128, too large for int8"):
        reader(many, dtype="int8")
