"""Text → the token ids of a network, and the characters of the text that each token covers.

The tokenizer is the model's own: a tokenizer.json of the `tokenizers` library. Its normalisation and truncation are
used as they are. Only its padding length is replaced: a text is always padded to the length of the input.
"""

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput, ModelFault, first_line
from whyserve.model.input_spec import InputSpec, Strict
from whyserve.model.spec import ModelSpec

# The characters that a text may have per token of the input. No real text needs as many, and the work stays small.
LETTERS_A_TOKEN = 32
# How tokenizers write a space before a word. A token of these alone carries no information.
BLANKS = " ▁Ġ"


def most_letters(item: InputSpec) -> int:
    """The largest number of characters of a text for this input."""
    return LETTERS_A_TOKEN * item.shape[0]


class TokenSpans(Strict):
    """The tokens of one text, each with the characters that it covers.

    tokens: (token, start, end), where text[start:end] are the characters, counted in Unicode code points.
    places: for each position of the input, the index into `tokens`. All padding positions share one token, which
        covers no character and stands at the end of the text, or at its start with left padding.
    words: the word of each token, by the tokenizer's count; None for a special token and for the padding.
    """

    tokens: tuple[tuple[str, int, int], ...]
    places: tuple[int, ...]
    words: tuple[int | None, ...] = ()
    text: str = ""

    def described(self, values: Sequence[float]) -> list[dict[str, Any]]:
        """The attribution of each token. values: by position of the input; the padding gets the sum of its values."""
        sums = np.bincount(self.places, weights=values, minlength=len(self.tokens)).tolist()
        return [
            {"token": token, "start": start, "end": end, "value": value}
            for (token, start, end), value in zip(self.tokens, sums, strict=True)
        ]


class TextReader:
    """Reads the texts of one input. Threads may call it at the same time.

    pad: the id of padding. pad_left: whether padding is before the text.
    """

    def __init__(self, item: InputSpec, content: bytes, place: str) -> None:
        """content: of tokenizer.json. place: its name in messages. Raises ModelFault."""
        self._tokenizer, self._place = parse_tokenizer(content, place), place
        self._length, self._most_letters = item.shape[0], most_letters(item)
        # The largest id plus one, not the number of tokens, because ids may have gaps.
        self.vocabulary = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        if self.vocabulary - 1 > np.iinfo(item.dtype).max:
            words = f"has ids up to {self.vocabulary - 1}, too large for {item.dtype}; use a larger dtype"
            raise ModelFault(f"{place}: {words}")
        padding: dict[str, Any] = self._tokenizer.padding or {}
        self._tokenizer.no_padding()
        self.pad = int(padding.get("pad_id", 0))
        self._pad_token = str(padding.get("pad_token") or self._tokenizer.id_to_token(self.pad) or "[PAD]")
        self.pad_left = padding.get("direction") == "left"
        self._unknown = {self.pad, _unknown_id(self._tokenizer, json.loads(content)["model"])}
        for trial in ("a", "a " * (self._most_letters // 2)):
            faultless(partial(self._tokenizer.encode, trial), place, panics_only=True)

    def ids(self, text: str, known: bool = True) -> list[int]:
        """The ids of a text, padded to the length of the input. known: whether at least one token must be known.

        Raises InvalidInput; the message follows the name of the input.
        """
        ids: list[int] = self._encoded(text, known).ids
        padding = [self.pad] * (self._length - len(ids))
        return padding + ids if self.pad_left else ids + padding

    def spans(self, text: str) -> TokenSpans:
        """The tokens of a text and the characters that they cover. Raises InvalidInput."""
        found = self._encoded(text)
        tokens = _with_accents(text, [(t, *offsets) for t, offsets in zip(found.tokens, found.offsets, strict=True)])
        words = _words(text, tokens, found)
        count, rest = len(tokens), self._length - len(tokens)
        places = [*range(count)]
        if rest and self.pad_left:
            tokens, words = [(self._pad_token, 0, 0), *tokens], (None, *words)
            places = [*[0] * rest, *range(1, count + 1)]
        elif rest:
            tokens, words = [*tokens, (self._pad_token, len(text), len(text))], (*words, None)
            places += [count] * rest
        return TokenSpans(tokens=tuple(tokens), places=tuple(places), words=words, text=text)

    def spans_of_ids(self, ids: Sequence[int]) -> TokenSpans:
        """The tokens of ids, whose text is not known: of the decoded text, or each id by itself if that differs."""
        text = self.text(ids)
        try:
            if self.ids(text) == list(ids):
                return self.spans(text)
        except InvalidInput:
            pass
        special = {self.pad, *(i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special)}
        tokens = tuple((self._tokenizer.id_to_token(i) or str(i), 0, 0) for i in ids)
        words = tuple(None if i in special else place for place, i in enumerate(ids))
        return TokenSpans(tokens=tokens, places=tuple(range(len(tokens))), words=words)

    @property
    def mask(self) -> int | None:
        """The id of the mask token, such as [MASK] or <mask>; None if the tokenizer has none."""
        added = self._tokenizer.get_added_tokens_decoder().items()
        return next((i for i, token in added if token.content.strip("[]<>|").lower() == "mask"), None)

    def knows(self, text: str) -> bool:
        """Whether the text has a known token and is short enough."""
        try:
            self._encoded(text)
        except InvalidInput:
            return False
        return True

    def text(self, ids: Sequence[int]) -> str:
        """A text for ids, as the tokenizer decodes them; not always the text that they come from."""
        text: str = self._tokenizer.decode([i for i in ids if i != self.pad])
        return text

    def _encoded(self, text: str, known: bool = True) -> Any:
        if len(text) > self._most_letters:
            raise InvalidInput(f"must have at most {self._most_letters} characters")
        found = faultless(lambda: self._tokenizer.encode(text), self._place)
        if len(found.ids) > self._length:
            raise InvalidInput(f"has {len(found.ids)} tokens, but this model takes at most {self._length}; shorten it")
        tokens = zip(found.ids, found.tokens, found.special_tokens_mask, strict=True)
        any_known = any(token.strip(BLANKS) and not special and i not in self._unknown for i, token, special in tokens)
        if known and not any_known:
            raise InvalidInput("has no token that this model knows")
        return found


def parse_tokenizer(content: bytes, place: str) -> Any:
    """A tokenizers.Tokenizer. content: of tokenizer.json. place: its name in messages. Raises ModelFault."""
    from tokenizers import Tokenizer  # noqa: PLC0415  # a service without text does not need the library

    return faultless(lambda: Tokenizer.from_str(content.decode()), place)


def faultless(call: Callable[[], Any], place: str, *, panics_only: bool = False) -> Any:
    """What a call of the tokenizers library returns. Raises ModelFault if the library fails.

    The library raises plain exceptions, and PanicException, which is no Exception and would end the process.
    panics_only: ignore plain exceptions, which the library also raises for single texts.
    """
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if panics_only and isinstance(error, Exception):
            return None
        raise ModelFault(f"{place}: the tokenizers library cannot use this file: {first_line(error)}") from error


def _with_accents(text: str, tokens: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Extend tokens over combining accents: when the tokenizer composes a letter with its accent, the library reports
    the position of the letter only.
    """
    begins = {start for _, start, end in tokens if start < end}
    extended = []
    for token, start, end in tokens:
        last = end
        while start < last < len(text) and last not in begins and unicodedata.combining(text[last]):
            last += 1
        extended.append((token, start, last))
    return extended


def _words(text: str, tokens: Sequence[tuple[str, int, int]], found: Any) -> tuple[int | None, ...]:
    """The word of each token. A tokenizer that does not split a text into words is given the blanks as their bounds."""
    words: list[int | None] = list(found.word_ids)
    own = {word for word, special in zip(words, found.special_tokens_mask, strict=True) if not special}
    if own <= {None, 0} and len(text.split()) > 1:
        words = [len(text[:end].split()) for _, _, end in tokens]
    return tuple(None if special else word for word, special in zip(words, found.special_tokens_mask, strict=True))


def _unknown_id(tokenizer: Any, model: Mapping[str, Any]) -> int | None:
    """The id of the unknown token; None if the tokenizer knows every text, as byte-level tokenizers do."""
    if isinstance(token := model.get("unk_token"), str):
        found: int | None = tokenizer.token_to_id(token)
        return found
    return model.get("unk_id")


def text_readers(spec: ModelSpec, read: Callable[[str], bytes]) -> dict[str, TextReader]:
    """The readers by name of each input that is sent as text. read: returns the content of a file of the model folder.

    Raises ModelFault.
    """
    return {
        item.name: TextReader(item, read(item.tokenizer), f"{spec.name}/{item.tokenizer}")
        for item in spec.inputs
        if item.tokenizer
    }


def check_ids(inputs: Sequence[InputSpec], vocabularies: Mapping[str, int], arrays: Mapping[str, np.ndarray]) -> None:
    """Check that all ids of each feature or input in `vocabularies` are from 0 to n − 1.

    Raises InvalidInput, which names the feature or the input.
    """
    for item in inputs if vocabularies else ():
        for key, feature, column in item.columns(arrays[item.name]):
            count = vocabularies.get(key)
            ids = item.present(feature, column) if feature and feature.missing else column
            if count is not None and (ids.min(initial=0) < 0 or ids.max(initial=0) >= count):
                what = "feature" if feature else "input"
                raise InvalidInput(f'{what} "{key}" holds an id outside the range 0 to {count - 1}', field=key)


def spans_of(readers: Mapping[str, TextReader], rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[TokenSpans, ...]]:
    """The token spans of the texts in rows, by input."""
    return {name: tuple(reader.spans(row[name]) for row in rows) for name, reader in readers.items()}
