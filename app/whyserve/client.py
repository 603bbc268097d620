"""An answer of /explain → a shap.Explanation, which shap.plots draws. It needs shap, and not torch.

answer = requests.post(".../explain", json=question).json()
shap.plots.waterfall(to_shap(answer, question["instances"])[0])
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shap

Row = Mapping[str, Any]


def to_shap(answer: Mapping[str, Any], instances: Sequence[Row], output: str | None = None) -> shap.Explanation:
    """Rows of a table: values (rows, features); of images or series alone: (rows, *shape); of text: by token.

    answer: what /explain gave. instances: what it was asked about, in the same order.
    output: which of the outputs explained; the first of each row if left out.
    Raises ValueError where the answer has no such output, or is of other rows.
    """
    explanations = answer["explanations"]
    if len(explanations) != len(instances):
        raise ValueError(f"the answer explains {len(explanations)} rows, and {len(instances)} instances were given")
    chosen = [_chosen(explanation["outputs"], output) for explanation in explanations]
    base = np.array([each["base_value"] for each in chosen])
    names = [each["output"] for each in chosen]
    # shap takes one name for all rows, or none.
    name = names[0] if len(set(names)) == 1 else None
    keys = list(chosen[0]["attributions"])
    if keys_of_text := [key for key in keys if _is_text(chosen[0]["attributions"][key])]:
        if keys != keys_of_text or len(keys) > 1:
            raise ValueError("text beside other inputs has no plot of shap's")
        texts = [instance[keys[0]] for instance in instances]
        return _text([each["attributions"][keys[0]] for each in chosen], texts, base, name)
    values = [_parts(each["attributions"], keys) for each in chosen]
    data = [_seen(instance, keys, parts) for instance, parts in zip(instances, values, strict=True)]
    if len(keys) == 1 and values[0][0].ndim:
        # shap's picture of an image takes an axis of outputs, last.
        whole, seen = (np.stack([part for (part,) in rows]) for rows in (values, data))
        return _explanation(whole[..., None], seen, base[:, None], name and [name], None)
    features = [name for key, part in zip(keys, values[0], strict=True) for name in _names(key, part.shape)]
    flat = np.stack([np.concatenate([part.ravel() for part in row]) for row in values])
    known = np.stack([np.concatenate([part.astype(object).ravel() for part in row]) for row in data])
    return _explanation(flat, known, base, name, features)


def _chosen(outputs: Sequence[Mapping[str, Any]], name: str | None) -> Mapping[str, Any]:
    if name is None:
        return outputs[0]
    for output in outputs:
        if output["output"] == name:
            return output
    known = ", ".join(str(output["output"]) for output in outputs)
    raise ValueError(f'the answer does not explain {name}, but {known}; ask with "outputs"')


def _parts(row: Row, keys: Sequence[str]) -> list[np.ndarray]:
    # A group of features is explained under a name that no instance has.
    return [np.asarray(row.get(key, "")) for key in keys]


def _seen(instance: Row, keys: Sequence[str], values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """An instance's parts; a picture as its levels, in the shape of its attributions."""
    parts = _parts(instance, keys)
    return [
        _levels(str(part), like.shape) if like.ndim > 1 and part.dtype.kind == "U" and not part.ndim else part
        for part, like in zip(parts, values, strict=True)
    ]


def _levels(picture: str, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image  # noqa: PLC0415 (comes with what draws it)

    with Image.open(io.BytesIO(base64.b64decode(picture)), formats=("PNG", "JPEG")) as image:
        levels = np.asarray(image)
    if levels.ndim == 3 and levels.shape != shape:
        levels = np.moveaxis(levels, 2, 0)
    return levels.reshape(shape)


def _names(key: str, shape: tuple[int, ...]) -> list[str]:
    return [key + "".join(f"[{i}]" for i in place) for place in np.ndindex(shape)]


def _is_text(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and isinstance(part[0], Mapping)


def _text(
    rows: Sequence[Sequence[Mapping[str, Any]]], texts: Sequence[str], base: np.ndarray, name: str | None
) -> shap.Explanation:
    values, data = np.empty(len(rows), object), np.empty(len(rows), object)
    for number, (tokens, text) in enumerate(zip(rows, texts, strict=True)):
        values[number] = np.array([token["value"] for token in tokens])
        data[number] = np.array(_pieces(tokens, text))
    return _explanation(values, data, base, name, None)


def _pieces(tokens: Sequence[Mapping[str, Any]], text: str) -> list[str]:
    """Each token's letters and the blanks up to the next, so that all together are the text; else its own name."""
    ends = [*(token["start"] for token in tokens[1:]), len(text)]
    return [
        text[token["start"] : max(token["end"], end)] if token["start"] < token["end"] else token["token"]
        for token, end in zip(tokens, ends, strict=True)
    ]


def _explanation(
    values: np.ndarray, data: np.ndarray, base: np.ndarray, name: str | list[str] | None, features: list[str] | None
) -> shap.Explanation:
    return shap.Explanation(values, base_values=base, data=data, feature_names=features, output_names=name)
