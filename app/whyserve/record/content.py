"""The content of a record: what was sent, what the network got, and what was answered.

The content is stored apart from the chained facts, so that it can be erased, whole or for one row.
"""

import hmac
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import orjson

from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

# The lists of requests and answers that have one item for each row.
BY_ROW = ("instances", "predictions", "explanations", "counterfactuals", "out_of_range")
ARRAYS = ("arrays", "background", "filled")
SIZE = 4  # bytes of the length of the head
Edit = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Decision:
    """What an endpoint knows of a decision before it answers.

    body: as sent. arrays: with markers for missing values. filled: gives the arrays that the network gets.

    asked: the options of an explanation. about: the id of an explanation that is delivered in parts.
    background, explanation: as of Content.
    """

    spec: ModelSpec
    manifest: str
    filled: Callable[[Arrays], Arrays]
    body: bytes
    arrays: Arrays
    kind: Literal["prediction", "explanation", "counterfactual"] = "prediction"
    asked: dict[str, Any] | None = None
    background: Arrays | None = None
    about: str | None = None
    explanation: bytes = b""


@dataclass(frozen=True, slots=True)
class Content:
    """body, answer: as sent and as answered; empty if they were not kept. explanation: the answer of /explain, if the
    answer has another form. arrays, background: by input, (rows, *shape); the background only if the request sent it.
    filled: the inputs whose missing values have a fill, as the network got them.
    """

    body: bytes = b""
    answer: bytes = b""
    explanation: bytes = b""
    arrays: Arrays = field(default_factory=dict)
    background: Arrays = field(default_factory=dict)
    filled: Arrays = field(default_factory=dict)

    def pack(self) -> bytes:
        """The content in one block."""
        names: list[list[Any]] = [[name, len(getattr(self, name))] for name in ("body", "answer", "explanation")]
        blocks = [self.body, self.answer, self.explanation]
        for kind in ARRAYS:
            for name, array in getattr(self, kind).items():
                whole = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
                names.append([kind, len(whole), name, array.dtype.newbyteorder("<").str, array.shape])
                blocks.append(whole)
        head = orjson.dumps(names)
        return b"".join((len(head).to_bytes(SIZE), head, *blocks))

    @classmethod
    def unpack(cls, block: bytes) -> Self:
        """The content of a block of `pack`."""
        at = SIZE + int.from_bytes(block[:SIZE])
        found: dict[str, Any] = {kind: {} for kind in ARRAYS}
        for kind, size, *more in orjson.loads(block[SIZE:at]):
            part = block[at : at + size]
            at += size
            if more:
                name, dtype, shape = more
                found[kind][name] = np.frombuffer(part, dtype).reshape(shape)
            else:
                found[kind] = part
        return cls(**found)

    @property
    def explained(self) -> dict[str, Any] | None:
        """The answer of /explain; None if the record has none."""
        found = as_json(self.explanation or self.answer)
        return found if isinstance(found, dict) and "method" in found else None

    def without_row(self, row: int) -> "Content":
        """The content after one of its rows is erased. A part in which the row cannot be found is erased as a whole."""

        def edit(found: dict[str, Any]) -> None:
            lists = [_list(found.get(name)) for name in BY_ROW] + list(found.get("columns", {}).values())
            lists = [each for each in lists if each]
            if not lists:
                raise ValueError("no list of rows")
            for each in lists:
                each[row] = None

        return self._edited(edit, lambda name, array: _blank(array, np.s_[row]))

    def without(self, hidden: "Hidden") -> "Content":
        """The content without the columns that model.toml leaves out or hashes."""
        made = self._edited(hidden.edit, hidden.blank)
        return replace(made, background={name: hidden.blank(name, each) for name, each in self.background.items()})

    def _edited(self, edit: Edit, change: Callable[[str, np.ndarray], np.ndarray]) -> "Content":
        arrays, filled = ({name: change(name, x) for name, x in each.items()} for each in (self.arrays, self.filled))
        parts: dict[str, Any] = {name: _edited(getattr(self, name), edit) for name in ("body", "answer", "explanation")}
        return replace(self, arrays=arrays, filled=filled, **parts)


class Hidden:
    """The columns of a model that a record leaves out or replaces by a keyed hash."""

    def __init__(self, spec: ModelSpec, key: bytes) -> None:
        self._omit, self._hash, self._key = frozenset(spec.record.omit), frozenset(spec.record.hash), key
        self.names = self._omit | self._hash
        self._features = {item.name: [feature.name for feature in item.features] for item in spec.inputs}

    def blank(self, name: str, array: np.ndarray) -> np.ndarray:
        """An input's array without its hidden columns."""
        places = [place for place, feature in enumerate(self._features[name]) if feature in self.names]
        return _blank(array, ... if name in self.names else np.s_[:, places])

    def edit(self, found: dict[str, Any]) -> None:
        """Edit a request or an answer. Raises an error if it has rows of another form."""
        if "inputs" in found or "outputs" in found:
            raise ValueError("tensors have no names of columns")
        for row in [*found.get("instances", ()), *_list(found.get("background"))]:
            self._hide(row, self.names, self._digest)
        _drop(found.get("changes", {}), self.names)  # the limits of a counterfactual
        self._hide(found.get("columns", {}), self.names, lambda column: list(map(self._digest, column)))
        if _list(found.get("out_of_range")):
            found["out_of_range"] = list(map(self._shown, found["out_of_range"]))
        for explanation in found.get("explanations", ()):
            self._hide_explanation(explanation)

        for counterfactual in found.get("counterfactuals", ()):
            for each in counterfactual["found"]:
                near = each.get("nearest_background", {}).get("instance", {})
                for row in (each["changes"], each["instance"], near):
                    self._hide(row, self.names, self._digest)

    def _hide_explanation(self, explanation: dict[str, Any]) -> None:
        self._hide(explanation, self.names & {"id"}, self._digest)
        if "out_of_range" in explanation:
            explanation["out_of_range"] = self._shown(explanation["out_of_range"])
        # The attributions of a text hold its tokens, and the masks of a picture its regions.
        _drop(explanation.get("masks", {}), self.names)
        for output in explanation["outputs"]:
            _drop(output.get("missing", {}), self.names)
            for values in (output["attributions"], output.get("standard_errors", {})):
                _drop(values, {name for name in self.names if _holds_text(values.get(name))})
        for reason in explanation.get("reasons", {}).get("named", ()):
            if isinstance(reason["value"], dict):  # of a group
                self._hide(reason["value"], self.names, self._digest)
            elif reason["feature"] in self.names:
                reason["value"] = None
        for similar in explanation.get("similar", ()):
            self._hide(similar["instance"], self.names, self._digest)

    def _hide(self, row: dict[str, Any], names: frozenset[str], digest: Callable[[Any], Any]) -> None:
        for name in names & row.keys():
            value = row.pop(name)
            if name in self._hash:
                row[name] = digest(value)

    def _digest(self, value: Any) -> str:
        return "hmac-sha256:" + hmac.digest(self._key, orjson.dumps(value), "sha256").hex()

    def _shown(self, outside: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [each for each in outside if each["feature"] not in self.names]


def content_of(decision: Decision, answer: bytes, key: bytes) -> bytes:
    """What a record keeps of a decision and its answer. key: of hashed columns."""
    given, spec = decision.arrays, decision.spec
    explanation = b"" if decision.explanation == answer else decision.explanation
    filled = {name: x for name, x in decision.filled(given).items() if x is not given[name]}
    content = Content(decision.body, answer, explanation, given, decision.background or {}, filled)
    if spec.record.omit or spec.record.hash:
        content = content.without(Hidden(spec, key))
    return content.pack()


def as_json(block: bytes) -> Any:
    """The JSON of a block; None if it is none."""
    try:
        return orjson.loads(block.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return None


def _edited(block: bytes, edit: Edit) -> bytes:
    found = as_json(block)
    try:
        edit(found)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError):
        return b""
    return orjson.dumps(found)


def _blank(array: np.ndarray, place: Any) -> np.ndarray:
    """An array without what is at a place: NaN, or 0 where the dtype has no NaN."""
    made = array.copy()
    made[place] = np.nan if made.dtype.kind == "f" else 0
    return made


def _drop(found: dict[str, Any], names: AbstractSet[str]) -> None:
    for name in names & found.keys():
        del found[name]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _holds_text(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and isinstance(values[0], Mapping)
