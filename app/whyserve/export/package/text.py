"""A background of texts and its tokenizer: the texts become ids, and the tokenizer a file of the model folder."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.export.package.background import dict_needed, row_of_background
from whyserve.model.input_spec import DType, InputSpec, has_tokenizer
from whyserve.model.spec import TOKENIZER_FILE
from whyserve.model.text import TextReader, parse_tokenizer
from whyserve.remote import open_bytes

# Wide enough for every tokenizer. If the network takes smaller integers, running it on the background fails.
IDS: DType = "int64"
# The name of the tokenizer in messages.
PLACE = "the tokenizer"


@dataclass(frozen=True, slots=True)
class PaddedTokenizer:
    """content: of tokenizer.json. pad: the id of padding. names: of the arguments that the tokenizer gives a network
    of transformers.
    """

    content: bytes
    pad: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextBackground:
    """background: with ids in place of texts. kinds: "tokens" for the input of texts, by name. example: a text with a
    known token, by name of the input. files: the files to add to the model folder, by name.
    """

    background: Any
    kinds: dict[str, str] = field(default_factory=dict)
    example: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def read_texts(tokenizer: Any, background: Any, network: Any, kinds: Mapping[str, str]) -> TextBackground:
    """Read the texts of a background. Without a tokenizer, the background is returned as it is.

    Raises InvalidInput, ModelFault.
    """
    if tokenizer is None:
        return TextBackground(background)
    content = tokenizer.content if isinstance(tokenizer, PaddedTokenizer) else _content(tokenizer)
    name = _input_of(background, network.names, kinds)
    given = background[name] if isinstance(background, Mapping) else background
    example: dict[str, str] = {}
    if texts := _texts(given):
        reader = _reader(name, texts, content, network)
        given = _ids(name, texts, reader)
        example = {name: next(filter(reader.knows, texts), texts[0])}
    if derived := getattr(network, "derived", ()):
        _check_derived(background, texts, np.asarray(given), content, derived)
    rest = {n: each for n, each in background.items() if n not in derived} if isinstance(background, Mapping) else {}
    whole = {**rest, name: given}
    return TextBackground(whole, {name: "tokens"}, example, {TOKENIZER_FILE: content})


def padded_tokenizer(tokenizer: Any, model: Any) -> PaddedTokenizer | None:
    """The tokenizer with the id of padding that the network takes; None without a tokenizer.

    The id is the tokenizer's own, or that of the tokenizer's class in transformers, or that of the network's config.
    Raises InvalidInput, ModelFault.
    """
    if tokenizer is None:
        return None
    parsed = parse_tokenizer(_content(tokenizer), PLACE)
    if parsed.padding is None:
        configs = [getattr(part, "config", None) for part in model.modules()] if hasattr(model, "modules") else []
        stated = [getattr(each, "pad_token_id", None) for each in (tokenizer, *configs)]
        pad = next((each for each in stated if isinstance(each, int) and each >= 0), 0)
        side = getattr(tokenizer, "padding_side", "right")
        parsed.enable_padding(direction=side, pad_id=pad, pad_token=parsed.id_to_token(pad) or "[PAD]")
    given = tuple(getattr(tokenizer, "model_input_names", ("attention_mask",)))
    return PaddedTokenizer(parsed.to_str().encode(), int(parsed.padding["pad_id"]), given)


def _content(tokenizer: Any) -> bytes:
    if isinstance(tokenizer, str | os.PathLike):
        path = Path(tokenizer)
        try:
            with open_bytes(path / TOKENIZER_FILE if path.is_dir() else tokenizer) as file:
                return file.read()
        except OSError as error:
            raise InvalidInput(f"the tokenizer {path.name} cannot be read: {error.strerror}") from error
    tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)  # a fast tokenizer of transformers wraps one
    if not hasattr(tokenizer, "to_str"):
        raise InvalidInput(
            f"{type(tokenizer).__name__} is not a tokenizer; give a tokenizers.Tokenizer"
            " or the path of a tokenizer.json"
        )
    content: str = tokenizer.to_str()
    return content.encode()


def _input_of(background: Any, names: Sequence[str], kinds: Mapping[str, str]) -> str:
    """The name of the input of texts: the only input, the one of kind tokens, or the one whose background is texts."""
    if len(names) == 1:
        return names[0]
    if not isinstance(background, Mapping):
        raise dict_needed(names)
    named = [name for name in names if has_tokenizer(kinds.get(name, ""))]
    found = named or [name for name in names if _texts(background.get(name))]
    if len(found) != 1:
        raise InvalidInput(
            f"it is unclear which of the inputs {', '.join(names)} the tokenizer belongs to; set"
            ' kinds={"NAME": "tokens"} with the name of that input'
        )
    return found[0]


def _texts(given: Any) -> list[str]:
    """The texts of a list, an array, a column or a table with one column; empty if it holds anything else."""
    if isinstance(given, Mapping) or given is None:
        return []
    array = np.asarray(given)
    flat = array.ravel().tolist() if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1) else []
    return flat if flat and all(isinstance(each, str) for each in flat) else []


def _reader(name: str, texts: list[str], content: bytes, network: Any) -> TextReader:
    """A reader of texts. Its number of tokens is that of the network, of the tokenizer's padding or truncation, or of
    the longest text: the first of these that is known.
    """
    shapes = dict(zip(network.names, getattr(network, "shapes", None) or (), strict=False))
    length = int(shapes[name][0] or 0) if name in shapes else 0
    if not length:
        tokenizer = parse_tokenizer(content, PLACE)
        length = int((tokenizer.padding or {}).get("length") or (tokenizer.truncation or {}).get("max_length") or 0)
        length = length or max(len(tokenizer.encode(text).ids) for text in texts)
    item = InputSpec(name=name, kind="tokens", dtype=IDS, shape=(max(length, 1),), tokenizer=TOKENIZER_FILE)
    return TextReader(item, content, PLACE)


def _check_derived(background: Any, texts: list[str], ids: np.ndarray, content: bytes, derived: Sequence[str]) -> None:
    """What the network computes from the ids must be what the tokenizer, or the background, gives beside them."""
    tokenizer = parse_tokenizer(content, PLACE)
    given = background if isinstance(background, Mapping) and not texts else {}
    expected = {"attention_mask": ids != tokenizer.padding["pad_id"], "token_type_ids": np.zeros_like(ids)}
    wrong = [n for n in derived if n in given and not np.array_equal(np.asarray(given[n]), expected[n])]
    if "token_type_ids" in derived and any(any(tokenizer.encode(text).type_ids) for text in texts):
        wrong.append("token_type_ids")
    if wrong:
        raise InvalidInput(
            f'"{wrong[0]}" is not what the ids give: attention_mask is 1 where the id is not padding, token_type_ids'
            " is 0, because a request has only a text; give the network a forward method that computes it from the ids"
        )


def _ids(name: str, texts: list[str], reader: TextReader) -> np.ndarray:
    """(rows, tokens). A text without a known token is allowed here: a background may be the empty text."""
    rows = []
    for number, text in enumerate(texts):
        try:
            rows.append(reader.ids(text, known=False))
        except InvalidInput as fault:
            raise InvalidInput(f"{row_of_background(name, number)} {fault.message}") from None
    return np.array(rows, dtype=IDS)
