"""Answers of /explain → explanations for notebooks."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whyserve.model.outputs import same_outputs
from whyserve.model.players import by_player, names_players
from whyserve.notebook.explanation import FURTHER, Draw, Explanation, ragged

if TYPE_CHECKING:
    import shap

Row = Mapping[str, Any]


def to_shap(answer: Mapping[str, Any], instances: Sequence[Row], output: str | None = None) -> "shap.Explanation":
    """The answer of /explain as a shap.Explanation, which shap.plots draws.

    Of tables the values are (rows, features), of a single image or series (rows, *shape), of text by token.
    answer: the JSON that /explain answered. instances: the instances of the request, in the same order.
    output: the name of an explained output. Default: the first output of each row, if it is the same for all rows.
    Raises ValueError if the answer does not explain this output, or explains other rows.
    """
    explanation = from_answer(answer, instances)
    return (explanation.first_output() if output is None else explanation.output(output)).to_shap()


def from_answer(answer: Mapping[str, Any], instances: Sequence[Row], draw: Draw | None = None) -> Explanation:
    """Raises ValueError if the answer explains other rows, or text beside other inputs; InvalidInput if it explains no
    output of any row.
    """
    rows = answer["explanations"]
    if len(rows) != len(instances):
        raise ValueError(f"the answer explains {len(rows)} rows, but {len(instances)} instances were given")
    outputs = same_outputs([each["outputs"] for each in rows], np.nan)
    first = outputs[0][0]["attributions"]
    keys = list(first)
    has_errors = "standard_errors" in outputs[0][0]

    def numbers(field: str) -> np.ndarray | None:
        return np.array([[each[field] for each in row] for row in outputs]) if field in outputs[0][0] else None

    common: dict[str, Any] = {
        "draw": draw,
        "outputs": tuple(tuple(each["output"] for each in row["outputs"]) for row in rows),
        "base": numbers("base_value"),
        "predicted": numbers("value"),
        "interactions": numbers("interactions"),
        "tree": [[each["tree"] for each in row] for row in outputs] if "tree" in outputs[0][0] else None,
        "facts": {key: fact for key, fact in answer.items() if key != "explanations"},
        **{key: [row.get(key) for row in rows] for key in FURTHER if any(key in row for row in rows)},
    }
    if any(names_players(each) for row in outputs for each in row):
        return Explanation(**_listed(outputs, has_errors), **common)
    if any(isinstance(part, list) and part and isinstance(part[0], Mapping) for part in first.values()):
        if len(keys) > 1:
            raise ValueError("text beside other inputs cannot be shown as one row of values")
        texts = [str(instance[keys[0]]) for instance in instances]
        for row, text in zip(outputs, texts, strict=True):
            if not row[0]["output"]:  # no output of this row is explained: its text is one piece
                whole = {keys[0]: [{"token": text, "start": 0, "end": len(text), "value": np.nan}]}
                row[:] = [{**each, "attributions": whole, "standard_errors": whole} for each in row]
        tokens = [row[0]["attributions"][keys[0]] for row in outputs]
        pieces = [_pieces(each, text) for each, text in zip(tokens, texts, strict=True)]
        return Explanation(**_listed(outputs, has_errors, pieces), **common)
    parts = {key: np.shape(first[key]) for key in keys}
    names = tuple(key + "".join(f"[{i}]" for i in place) for key, shape in parts.items() for place in np.ndindex(shape))
    alone = len(parts) == 1 and () not in parts.values()
    row_values = [_row_values(instance, parts) for instance in instances]
    kind = object if any(part.dtype.kind in "OU" for row in row_values for part in row) else None
    return Explanation(
        names=names,
        shape=next(iter(parts.values())) if alone else None,
        attributions=_stacked(outputs, "attributions", keys),
        errors=_stacked(outputs, "standard_errors", keys) if has_errors else None,
        row_values=np.stack(
            [row[0] if alone else np.concatenate([part.ravel() for part in row], dtype=kind) for row in row_values]
        ),
        **common,
    )


def _listed(
    outputs: Sequence[Sequence[Row]], has_errors: bool, pieces: Sequence[Sequence[str]] | None = None
) -> dict[str, Any]:
    """Players with the same names in every row, or one array of names and values per row. pieces: of texts."""
    found = [[by_player(each) for each in row] for row in outputs]
    names = [tuple(name for name, *_ in row[0]) for row in found]
    values = [np.array([[value for _, value, _ in each] for each in row]) for row in found]
    errors = [np.array([[error for *_, error in each] for each in row]) for row in found]
    is_same = pieces is None and len(set(names)) == 1
    joined = np.stack if is_same else ragged
    return {
        "names": names[0] if is_same else None,
        "row_values": np.full((len(names), len(names[0])), "", object)
        if is_same
        else ragged([np.array(each) for each in pieces or names]),
        "attributions": joined(values),
        "errors": joined(errors) if has_errors else None,
    }


def _stacked(outputs: Sequence[Sequence[Row]], field: str, keys: Sequence[str]) -> np.ndarray:
    """(rows, outputs, elements)."""
    return np.array(
        [[np.concatenate([np.ravel(each[field][key]) for key in keys]) for each in row] for row in outputs], np.float64
    )


def _row_values(instance: Row, parts: Mapping[str, tuple[int, ...]]) -> list[np.ndarray]:
    """The values of an instance by key; a picture as its levels, in the shape of its attributions."""
    row_values = []
    for key, shape in parts.items():
        value = np.asarray(instance.get(key, ""))  # a group of features has a key that no instance has
        row_values.append(_levels(str(value), shape) if len(shape) > 1 and value.dtype.kind == "U" else value)
    return row_values


def _levels(picture: str, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image  # noqa: PLC0415 (only for pictures)

    with Image.open(io.BytesIO(base64.b64decode(picture)), formats=("PNG", "JPEG")) as image:
        levels = np.asarray(image)
    if levels.ndim == 3 and levels.shape != shape:
        levels = np.moveaxis(levels, 2, 0)
    return levels.reshape(shape)


def _pieces(tokens: Sequence[Row], text: str) -> list[str]:
    """The letters of each token and the blanks up to the next, which together are the text; or the token's name."""
    ends = [*(token["start"] for token in tokens[1:]), len(text)]
    return [
        text[token["start"] : max(token["end"], end)] if token["start"] < token["end"] else token["token"]
        for token, end in zip(tokens, ends, strict=True)
    ]
