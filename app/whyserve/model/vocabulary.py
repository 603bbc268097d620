"""The vocabulary of players: how a request or model.toml divides one input into the parts that people know.

`players = { image = { patches = [4, 4] } }` gives each patch one attribution. docs/players.md describes every word.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, model_validator

from whyserve.model.input_spec import InputSpec, repeated

if TYPE_CHECKING:
    from whyserve.model.text import TokenSpans

# A fixed compactness, in units of the picture's own contrast: the same picture always gives the same superpixels.
COMPACTNESS = 0.1
MAX_PLAYERS = 100_000
NOBODY = -1  # the number of an element that is no player: it keeps the explained row's value
# A sentence ends at one of these characters before a blank.
SENTENCE_END = re.compile(r"[.!?…]+[\"'»”)]*(?=\s)|[。！？]|\n+")

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=1, le=MAX_PLAYERS)]
Pair = Annotated[list[Count], Field(min_length=2, max_length=2)]
Names = Annotated[list[Name], Field(min_length=1, max_length=MAX_PLAYERS)]
Absent = Literal["blur", "mean", "mask", "removal"] | FiniteFloat


class InputPlayers(BaseModel):
    """The players of one input: at most one of its divisions, and for pictures and series also `channels`.

    elements: every element is a player, also where model.toml says otherwise.
    patches: rows and columns of a grid. patch: height and width of a patch, in pixels. superpixels: about how many
    regions SLIC finds in the explained picture. mask: a label per pixel, (height, width).
    windows: number of windows. window: steps per window. step_names: a name for each step; without windows, each step
    is a player. channels: each channel is a player, or a name for each channel.
    words, sentences, tokens: of a text. groups: features of a table, or positions along `axis` of another input.
    absent: what an absent element is instead of the background's: blur or mean of the picture or series, or a number;
    of a text, the mask token or removal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    elements: Literal[True] | None = None
    patches: Pair | None = None
    patch: Pair | None = None
    superpixels: Count | None = None
    mask: list[list[Annotated[int, Field(ge=0, lt=MAX_PLAYERS)]]] | None = None
    windows: Count | None = None
    window: Count | None = None
    words: Literal[True] | None = None
    sentences: Literal[True] | None = None
    tokens: Literal[True] | None = None
    groups: dict[Name, Annotated[list[Name | Annotated[int, Field(ge=0)]], Field(min_length=1)]] | None = None
    axis: Annotated[int, Field(ge=0)] | None = None
    channels: Literal[True] | Names | None = None
    step_names: Names | None = None
    absent: Absent | None = None

    @model_validator(mode="after")
    def _one_division(self) -> Self:
        if len(given := [word for word in DIVISIONS if getattr(self, word) is not None]) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one of them")
        if self.axis is not None and self.groups is None:
            raise ValueError("axis needs groups")
        return self

    @property
    def word(self) -> str | None:
        """The word that divides the input; None if each element is a player."""
        words = (word for word in (*DIVISIONS, "channels", "step_names") if getattr(self, word) is not None)
        found = next(words, None)
        return None if found == "elements" else found

    @property
    def follows_rows(self) -> bool:
        """Whether the players differ from row to row."""
        return self.word in FOLLOW_ROWS


DIVISIONS = (
    "elements", "patches", "patch", "superpixels", "mask", "windows", "window", "words", "sentences", "tokens",
    "groups",
)  # fmt: skip
FOLLOW_ROWS = {"superpixels", "words", "sentences", "tokens"}
OF_IMAGES = {"patches", "patch", "superpixels", "mask", "channels"}
OF_SERIES = {"windows", "window", "channels", "step_names"}
OF_TEXTS = {"words", "sentences", "tokens"}
ABSENT_TOKENS = ("mask", "removal")


@dataclass(frozen=True, slots=True)
class Division:
    """The players of one input.

    numbers: the player of each element, in the shape of a row, 0 to n − 1, or NOBODY.
    players: of each player, its label and its place, as the answer says them. None: the elements of the input.
    mask: the label of each pixel, (height, width), where players are regions of a picture.
    sentences: of a text, the sentence of each player.
    """

    numbers: np.ndarray
    players: Sequence[Mapping[str, Any]] | None = None
    mask: np.ndarray | None = field(default=None, repr=False)
    sentences: Sequence[int] | None = None


def check_words(item: InputSpec, players: InputPlayers) -> None:
    """Raises ValueError, which begins with the faulty word, if the players do not fit the input."""
    given = players.model_fields_set - {name for name, value in players if value is None}
    allowed = {"elements", "groups"}
    allowed |= OF_IMAGES if item.image_axes() else OF_SERIES if item.kind == "sequence" else set()
    allowed |= OF_TEXTS if item.tokenizer else set()
    allowed |= set() if item.is_tabular else {"axis"}
    allowed |= {"absent"} if item.tokenizer or (item.is_float and not item.is_tabular) else set()
    kind = "a text" if item.tokenizer else f"an input of kind {item.kind} and shape {list(item.row_shape)}"
    if wrong := sorted(given - allowed):
        raise ValueError(f'{wrong[0]}: "{item.name}" is {kind}; available words: {", ".join(sorted(allowed))}')
    if players.absent is not None and (players.absent in ABSENT_TOKENS) != bool(item.tokenizer):
        words = ", ".join(ABSENT_TOKENS) if item.tokenizer else "blur, mean, or a number"
        raise ValueError(f'absent: "{item.name}" is {kind}; available values: {words}')
    if item.tokenizer and players.absent and players.word not in OF_TEXTS:
        # Elements count special tokens and padding too. These must stay as they are.
        raise ValueError(f"absent: needs one of {', '.join(sorted(OF_TEXTS))}")
    if not players.follows_rows:
        divide(item, players)


def divide(
    item: InputSpec, players: InputPlayers, row: np.ndarray | None = None, spans: "TokenSpans | None" = None
) -> Division:
    """The players of one row. row, spans: needed only for players that follow the row.

    Raises ValueError, which begins with the faulty word.
    """
    word = players.word
    if word is None:
        return Division(np.arange(int(np.prod(item.row_shape))).reshape(item.row_shape))
    if word in OF_TEXTS:
        assert spans is not None, "the players of a text follow the row"
        return _of_text(word, spans, item.row_shape)
    if word == "groups":
        return _grouped(item, players)
    if axes := item.image_axes():
        return _of_image(item, axes, players, row)
    return _of_series(item, players)


def _of_image(
    item: InputSpec, axes: tuple[int, int, int | None], players: InputPlayers, row: np.ndarray | None
) -> Division:
    height, width, axis = axes
    mask = None
    if players.superpixels or players.mask is not None:
        if players.superpixels:
            assert row is not None, "superpixels follow the row"
            mask = _superpixels(row, axis, players.superpixels)
        elif len(players.mask or ()) != height or any(len(labels) != width for labels in players.mask or ()):
            raise ValueError(f"mask: must be {height} rows of {width} labels")
        else:
            mask = np.array(players.mask)
        labels, numbers = np.unique(mask, return_inverse=True)
        space = numbers.reshape(height, width)
        parts = [{"player": f"region {label}", "label": label} for label in labels.tolist()]
    elif players.patches or players.patch:
        counts, sizes = players.patches or (None, None), players.patch or (None, None)
        word = "patches" if players.patches else "patch"
        rows = _ends(height, counts[0], sizes[0], word=word)
        columns = _ends(width, counts[1], sizes[1], word=word)
        parts = [
            {"player": f"patch {y},{x}", "box": [top, left, bottom, right]}
            for y, (top, bottom) in enumerate(pairwise(rows))
            for x, (left, right) in enumerate(pairwise(columns))
        ]
        space = (len(columns) - 1) * _numbered(rows)[:, None] + _numbered(columns)
    else:
        space, parts = np.zeros((height, width), int), [{}]
    if axis is None:
        if players.channels:
            raise ValueError("channels: the picture has one channel and no axis of channels")
        return Division(space, parts, mask)
    numbers, parts = _times_channels(space, parts, item.shape[axis], players.channels)
    return Division(np.moveaxis(numbers, -1, axis), parts, mask)


def _of_series(item: InputSpec, players: InputPlayers) -> Division:
    steps, names = item.shape[0], players.step_names
    if names and len(names) != steps:
        raise ValueError(f"step_names: {len(names)} names, but the series has {steps} steps")
    if players.windows or players.window:
        ends = _ends(steps, players.windows, players.window, word="windows" if players.windows else "window")
    else:
        ends = list(range(steps + 1)) if names else [0, steps]
    parts: list[dict[str, Any]] = [
        {"player": _span(start, end, names), "start": start, "end": end} for start, end in pairwise(ends)
    ]
    if len(ends) == 2 and players.word == "channels":
        parts = [{}]
    if len(item.shape) == 1:
        if players.channels:
            raise ValueError("channels: the series has one channel and no axis of channels")
        return Division(_numbered(ends), parts)
    channels = item.shape[-1]
    space = np.broadcast_to(_numbered(ends).reshape(-1, *[1] * (len(item.shape) - 2)), item.shape[:-1])
    return Division(*_times_channels(space, parts, channels, players.channels))


def _span(start: int, end: int, names: Sequence[str] | None) -> str:
    first, last = (names[start], names[end - 1]) if names else (str(start), str(end - 1))
    shown = first if start == end - 1 else f"{first} to {last}"
    return shown if names else f"step {shown}" if start == end - 1 else f"steps {shown}"


def _times_channels(
    space: np.ndarray, parts: Sequence[Mapping[str, Any]], count: int, channels: Literal[True] | list[str] | None
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Players of space → of space and channels, which are the last axis. None: all channels together."""
    if not channels:
        return np.repeat(space[..., None], count, -1), [dict(part) for part in parts]
    names = [f"channel {number}" for number in range(count)] if channels is True else channels
    if len(names) != count:
        raise ValueError(f"channels: {len(names)} names, but the input has {count} channels")
    if twice := repeated(names):
        raise ValueError(f'channels: the name "{twice[0]}" appears twice')
    both = [
        {**part, "player": f"{name}, {part['player']}" if part else name, "channel": name}
        for part in parts
        for name in names
    ]
    return space[..., None] * count + np.arange(count), both


def _ends(size: int, count: int | None, each: int | None, *, word: str) -> list[int]:
    """The bounds of `count` parts of almost equal size, or of parts of `each`."""
    if (count or each or 0) > size:
        raise ValueError(f"{word}: {count or each} is more than the {size} that there are")
    return [size * part // count for part in range(count + 1)] if count else [*range(0, size, each or 1), size]


def _numbered(ends: Sequence[int]) -> np.ndarray:
    """(size,): the part of each position."""
    return np.repeat(np.arange(len(ends) - 1), np.diff(ends))


def _superpixels(row: np.ndarray, axis: int | None, count: int) -> np.ndarray:
    """(height, width): SLIC (Achanta et al. 2012) on the explained picture."""
    from skimage.segmentation import slic  # noqa: PLC0415 (only the worker has it, and it is slow to import)

    levels = row.astype(np.float64) if axis is None else np.moveaxis(row, axis, -1).astype(np.float64)
    low, high = levels.min(), levels.max()
    levels = (levels - low) / (high - low or 1.0)
    found: np.ndarray = slic(
        levels,
        n_segments=min(count, levels.shape[0] * levels.shape[1]),
        compactness=10.0 if levels.ndim == 3 and levels.shape[-1] == 3 else COMPACTNESS,
        channel_axis=None if axis is None else -1,
        start_label=0,
    )
    return found


def _of_text(word: str, spans: "TokenSpans", shape: tuple[int, ...]) -> Division:
    """Tokens with one number of `words` are one player. Special tokens and padding are no players."""
    words = spans.words or tuple(range(len(spans.tokens)))
    bounds = [match.end() for match in SENTENCE_END.finditer(spans.text)]
    sentences: list[int] = []
    number_of: dict[int, int] = {}
    parts: list[dict[str, Any]] = []
    of_token = []
    for place, ((token, start, end), own) in enumerate(zip(spans.tokens, words, strict=True)):
        if own is None:
            of_token.append(NOBODY)
            continue
        sentence = int(np.searchsorted(bounds, start, "right"))
        key = place if word == "tokens" else own if word == "words" else sentence
        if key not in number_of:
            number_of[key] = len(parts)
            sentences.append(sentence)
            parts.append({"player": token, "start": start, "end": end})
        number = number_of[key]
        of_token.append(number)
        part = parts[number]
        part["end"] = max(part["end"], end)
        if word != "tokens" and spans.text:
            letters = spans.text[part["start"] : part["end"]]
            part["start"] += len(letters) - len(letters.lstrip())  # some tokenizers count the blank before a word to it
            part["player"] = letters.strip() or token
    return Division(np.array(of_token)[list(spans.places)].reshape(shape), parts, sentences=sentences)


def _grouped(item: InputSpec, players: InputPlayers) -> Division:
    """Groups of positions along an axis. A position in no group is a player of its own."""
    axis = len(item.row_shape) - 1 if players.axis is None else players.axis
    if axis >= len(item.row_shape):
        raise ValueError(f"axis: {axis} is not an axis of shape {list(item.row_shape)}")
    size, group_of = item.row_shape[axis], group_by_place(item, players, item.row_shape[axis])
    labels = [group_of.get(place, f"{item.name}[{place}]") for place in range(size)]
    names = list(dict.fromkeys(labels))
    own = np.array([names.index(label) for label in labels])
    numbers = np.broadcast_to(own.reshape(-1, *[1] * (len(item.row_shape) - 1 - axis)), item.row_shape)
    parts = [{"player": name, "members": np.flatnonzero(own == number).tolist()} for number, name in enumerate(names)]
    return Division(numbers, parts)


def group_by_place(item: InputSpec, players: InputPlayers, size: int) -> dict[int, str]:
    """The group of each position that has one: of a feature of a table, or along an axis. Raises ValueError."""
    places = {key: place for place, key in enumerate(item.keys)} if item.is_tabular else {}
    group_of: dict[int, str] = {}
    for group, members in (players.groups or {}).items():
        for member in members:
            place = member if isinstance(member, int) else places.get(member, size)
            if place >= size:
                raise ValueError(f'groups.{group}: unknown member "{member}"')
            if place in group_of:
                raise ValueError(f'groups.{group}: "{member}" is already in the group "{group_of[place]}"')
            group_of[place] = group
    return group_of
