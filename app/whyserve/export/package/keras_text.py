"""A TextVectorization of Keras → a tokenizer that gives the same ids."""

import string
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from whyserve.errors import ModelFault

# What tf.strings.lower, the regular expression of Keras and tf.strings.split take for letters, punctuation and blanks.
LOWER = [normalizers.Replace(letter, letter.lower()) for letter in string.ascii_uppercase]
PUNCTUATION = r"""[!"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']"""
BLANKS = r"[ \t\n\v\f\r]+"
STEPS = {
    None: [],
    "lower": LOWER,
    "strip_punctuation": [normalizers.Replace(Regex(PUNCTUATION), "")],
    "lower_and_strip_punctuation": [*LOWER, normalizers.Replace(Regex(PUNCTUATION), "")],
}


def tokenizer_of(layer: Any, name: str) -> Any:
    """name: of the layer in messages. Raises ModelFault for a layer whose ids no tokenizer gives."""
    config = layer.get_config()
    steps = config["standardize"]
    needed = {
        "a standardize function": (isinstance(steps, str | None), 'standardize="lower_and_strip_punctuation"'),
        "another split": (config["split"] == "whitespace", 'split="whitespace"'),
        "n-grams": (not config["ngrams"], "ngrams=None"),
        f"output_mode={config['output_mode']!r}": (
            config["output_mode"] == "int",
            'output_mode="int", and an Embedding with a pooling layer behind it',
        ),
        "ragged output": (not config["ragged"], "ragged=False"),
        "no output_sequence_length": (config["output_sequence_length"] is not None, "output_sequence_length=…"),
    }
    for what, (met, instead) in needed.items():
        if not met:
            raise ModelFault(f"{name} has {what}, which a tokenizer cannot do; use {instead}")
    length = int(config["output_sequence_length"])
    words = {word: number for number, word in enumerate(layer.get_vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))  # noqa: S106  # no password
    tokenizer.normalizer = normalizers.Sequence(STEPS[steps])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(BLANKS), "removed")
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=length)  # noqa: S106
    return tokenizer
