"""Texts with their tokenizer, as packaging sees them: ids for the background, and the file that goes along."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput, ModelFault
from whyserve.model.input_spec import DType, InputSpec
from whyserve.model.spec import TOKENIZER_FILE
from whyserve.model.text import TextReader

# Ids of any tokenizer fit; a network of smaller ones says so when it is tried.
IDS: DType = "int64"


@dataclass(frozen=True, slots=True)
class TextBackground:
    """background: as it was given, with ids for texts. kinds, example: what is known of the text's input by that.
    files: what of it goes into the folder."""

    background: Any
    kinds: dict[str, str] = field(default_factory=dict)
    example: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def read_texts(tokenizer: Any, background: Any, network: Any, kinds: Mapping[str, str]) -> TextBackground:
    """Raises InvalidInput, ModelFault; a network without a tokenizer is none of this module's business."""
    if tokenizer is None:
        return TextBackground(background)
    content = _content(tokenizer)
    name = _input_of(background, network.names, kinds)
    given = background[name] if isinstance(background, Mapping) else background
    example: dict[str, str] = {}
    if texts := _texts(given):
        reader = _reader(name, texts, content, network)
        given = _ids(name, texts, reader)
        example = {name: next(filter(reader.knows, texts), texts[0])}
    whole = {**background, name: given} if isinstance(background, Mapping) else {name: given}
    return TextBackground(whole, {name: "tokens"}, example, {TOKENIZER_FILE: content})


def _content(tokenizer: Any) -> bytes:
    if isinstance(tokenizer, str | os.PathLike):
        path = Path(tokenizer)
        try:
            return (path / TOKENIZER_FILE if path.is_dir() else path).read_bytes()
        except OSError as error:
            raise InvalidInput(f"the tokenizer {path.name} cannot be read: {error.strerror}") from error
    tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)  # of a fast tokenizer of transformers
    if not hasattr(tokenizer, "to_str"):
        raise InvalidInput(
            f"{type(tokenizer).__name__} is not a tokenizer: give a tokenizers.Tokenizer,"
            " or the path of a tokenizer.json"
        )
    content: str = tokenizer.to_str()
    return content.encode()


def _input_of(background: Any, names: Sequence[str], kinds: Mapping[str, str]) -> str:
    """Which input is text: the only one, the one said to be tokens, or the one whose background is texts."""
    if len(names) == 1:
        return names[0]
    if not isinstance(background, Mapping):
        raise InvalidInput(f"the network has {len(names)} inputs, {', '.join(names)}: give the background as a dict")
    said = [name for name in names if kinds.get(name) == "tokens"]
    found = said or [name for name in names if _texts(background.get(name))]
    if len(found) != 1:
        raise InvalidInput(f'which of {", ".join(names)} does the tokenizer read? Say kinds={{"…": "tokens"}}')
    return found[0]


def _texts(given: Any) -> list[str]:
    """What was given, where it is texts: in a list, an array, a column, or a table of one column."""
    if isinstance(given, Mapping) or given is None:
        return []
    array = np.asarray(given)
    flat = array.ravel().tolist() if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1) else []
    return flat if flat and all(isinstance(each, str) for each in flat) else []


def _reader(name: str, texts: list[str], content: bytes, network: Any) -> TextReader:
    """Of as many tokens as the network says it takes, or the tokenizer, or the longest text has."""
    from tokenizers import Tokenizer  # noqa: PLC0415  # not where there is no text

    shapes = dict(zip(network.names, getattr(network, "shapes", None) or (), strict=False))
    length = int(shapes[name][0]) if name in shapes else 0
    if not length:
        try:
            plain = Tokenizer.from_str(content.decode())
        except Exception as error:
            raise ModelFault(f"the tokenizer is not one of the tokenizers library: {error}") from error
        length = int((plain.padding or {}).get("length") or (plain.truncation or {}).get("max_length") or 0)
        length = length or max(len(plain.encode(text).ids) for text in texts)
    item = InputSpec(name=name, kind="tokens", dtype=IDS, shape=(max(length, 1),), tokenizer=TOKENIZER_FILE)
    return TextReader(item, content, "the tokenizer")


def _ids(name: str, texts: list[str], reader: TextReader) -> np.ndarray:
    """(rows, tokens). A text of nothing is one, here: explanations may be measured against it."""
    rows = []
    for number, text in enumerate(texts):
        try:
            rows.append(reader.ids(text, known=False))
        except InvalidInput as fault:
            raise InvalidInput(f'row {number} of the background of "{name}" {fault.message}') from None
    return np.array(rows, dtype=IDS)
