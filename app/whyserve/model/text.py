"""Text ⇄ the tokens of a network with an embedding: which of its ids a text becomes, and which letters each stands for.

The tokenizer is the model's own, a tokenizer.json of the `tokenizers` library. What it does to a text is done here
too, cutting off included, where it is told to; but for the filling up, which always goes to the input's length.
"""

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from whyserve.errors import InvalidInput, ModelFault, first_line
from whyserve.model.input_spec import InputSpec
from whyserve.model.spec import ModelSpec

# Letters that a text may have for each token that the network reads: more than any text needs, and never much work.
LETTERS_A_TOKEN = 32
# As tokenizers write the blank before a word: a token of nothing else says nothing.
BLANKS = " ▁Ġ"


def most_letters(item: InputSpec) -> int:
    return LETTERS_A_TOKEN * item.shape[0]


class TokenSpans(BaseModel):
    """One text's tokens as it has them, with the letters, from and up to, that each stands for.

    places: for each place of the input, which of the tokens stands there. All places that the text leaves empty are
    one token, the padding, which stands for no letters at the text's end (or its start, where that is filled up).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[tuple[str, int, int], ...]
    places: tuple[int, ...]

    def described(self, values: Sequence[float]) -> list[dict[str, Any]]:
        """values: by place. Those of the padding are summed, so that the sum over all stays what it is."""
        sums = np.bincount(self.places, weights=values, minlength=len(self.tokens)).tolist()
        return [
            {"token": token, "start": start, "end": end, "value": value}
            for (token, start, end), value in zip(self.tokens, sums, strict=True)
        ]


class TextReader:
    """Reads the texts of one input; may be called from several threads at once."""

    def __init__(self, item: InputSpec, content: bytes, place: str) -> None:
        """content: of tokenizer.json. place: what messages call it. Raises ModelFault."""
        from tokenizers import Tokenizer  # noqa: PLC0415  # not for a service without text

        try:
            described = json.loads(content)
            self._tokenizer = Tokenizer.from_str(content.decode())
        except Exception as error:  # the library raises plain exceptions
            raise ModelFault(f"{place}: not a file of the tokenizers library: {first_line(error)}") from error
        self._length, self._most_letters = item.shape[0], most_letters(item)
        # One more than the largest id: ids may have gaps.
        self.vocabulary = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        if self.vocabulary - 1 > np.iinfo(item.dtype).max:
            raise ModelFault(f"{place}: has ids up to {self.vocabulary - 1}, too large for {item.dtype}")
        filling: dict[str, Any] = self._tokenizer.padding or {}
        self._tokenizer.no_padding()
        self._fill = int(filling.get("pad_id", 0))
        self._fill_name = str(filling.get("pad_token") or self._tokenizer.id_to_token(self._fill) or "[PAD]")
        self._fill_first = filling.get("direction") == "left"
        self._unknown = {self._fill, _unknown_id(self._tokenizer, described["model"])}

    def ids(self, text: str, known: bool = True) -> list[int]:
        """The ids that a text becomes, as many as the input has places. known: one of them at least must be.

        Raises InvalidInput, whose words follow the name of what is read.
        """
        ids: list[int] = self._encoded(text, known).ids
        rest = [self._fill] * (self._length - len(ids))
        return rest + ids if self._fill_first else ids + rest

    def spans(self, text: str) -> TokenSpans:
        """Where in the text its tokens are, counted in Unicode code points from 0. Raises InvalidInput."""
        found = self._encoded(text)
        tokens = _with_accents(text, [(t, *offsets) for t, offsets in zip(found.tokens, found.offsets, strict=True)])
        places, rest = list(range(len(tokens))), self._length - len(tokens)
        if not rest:
            return TokenSpans(tokens=tuple(tokens), places=tuple(places))
        if self._fill_first:
            return TokenSpans(
                tokens=((self._fill_name, 0, 0), *tokens), places=(*[0] * rest, *(place + 1 for place in places))
            )
        end = len(text)
        return TokenSpans(tokens=(*tokens, (self._fill_name, end, end)), places=(*places, *[len(tokens)] * rest))

    def knows(self, text: str) -> bool:
        """Whether it can be read."""
        try:
            self._encoded(text)
        except InvalidInput:
            return False
        return True

    def text(self, ids: Sequence[int]) -> str:
        """A text for ids, as near as the tokenizer can tell."""
        text: str = self._tokenizer.decode([i for i in ids if i != self._fill])
        return text

    def _encoded(self, text: str, known: bool = True) -> Any:
        if len(text) > self._most_letters:
            raise InvalidInput(f"must have at most {self._most_letters} characters")
        found = self._tokenizer.encode(text)
        if len(found.ids) > self._length:
            raise InvalidInput(f"has {len(found.ids)} tokens, and this model reads {self._length}: shorten it")
        read = zip(found.ids, found.tokens, found.special_tokens_mask, strict=True)
        says = any(token.strip(BLANKS) and not special and i not in self._unknown for i, token, special in read)
        if known and not says:
            raise InvalidInput("has no token that this model knows")
        return found


def _with_accents(text: str, tokens: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Where letter and accent became one, the library takes the letter alone for what the token stands for."""
    begins = {start for _, start, end in tokens if start < end}
    whole = []
    for token, start, end in tokens:
        last = end
        while start < last < len(text) and last not in begins and unicodedata.combining(text[last]):
            last += 1
        whole.append((token, start, last))
    return whole


def _unknown_id(tokenizer: Any, model: Mapping[str, Any]) -> int | None:
    """What the tokenizer puts where it knows nothing better; None where it always does."""
    if isinstance(token := model.get("unk_token"), str):
        found: int | None = tokenizer.token_to_id(token)
        return found
    return model.get("unk_id")


def text_readers(spec: ModelSpec, read: Callable[[str], bytes]) -> dict[str, TextReader]:
    """By the name of each input that is sent as text. read: gives a file of the model's folder. Raises ModelFault."""
    return {
        item.name: TextReader(item, read(item.tokenizer), f"{spec.name}/{item.tokenizer}")
        for item in spec.inputs
        if item.tokenizer
    }


def check_ids(vocabularies: Mapping[str, int], arrays: Mapping[str, np.ndarray]) -> None:
    """Raises InvalidInput, which names the input, for ids that are not among its first so many."""
    for name, count in vocabularies.items():
        if arrays[name].min(initial=0) < 0 or arrays[name].max(initial=0) >= count:
            raise InvalidInput(f'input "{name}" holds an id that is not from 0 to {count - 1}', field=name)


def spans_of(readers: Mapping[str, TextReader], rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[TokenSpans, ...]]:
    """Of rows as people write them, by input."""
    return {name: tuple(reader.spans(row[name]) for row in rows) for name, reader in readers.items()}
