"""What only some requests ask for of a row: reasons for people, and the background rows that are most similar to it.

The reasons are the features that pushed most towards the outcome of the row, with their texts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from whyserve.explain.models.explainable import ExplainableModel
from whyserve.explain.worker.results import Explained
from whyserve.jobs import ExplainJob
from whyserve.model.arrays import unpacked
from whyserve.model.outputs import Outputs
from whyserve.model.reasons import LISTED, ReasonsSpec
from whyserve.model.rows import as_row

# Two attributions are tied if they differ by less than so many standard errors of their difference.
TIED_ERRORS = 2.5
# Differences of less than this share of the largest attribution are rounding.
ROUNDING = 1e-6


def further_fields(job: ExplainJob, model: ExplainableModel, explained: Explained, row: int) -> dict[str, Any]:
    """The fields of one explanation that only some requests ask for. explained: the job's rows and output columns."""
    similar = {} if job.similar is None else _similar(job, model, row, job.similar)
    spec = model.spec.reasons
    if job.reasons is None or spec is None:
        return similar
    place = job.outputs[row].index(spec.against)  # the API has added it
    (output,) = Outputs(model.spec, model.manifest.columns, job.scale).named([spec.against])
    errors = None if explained.standard_errors is None else explained.standard_errors[row, place]
    values = output.sign * explained.values[row, place]
    return {"reasons": _reasons(job, model, spec, row, values=values, errors=errors), **similar}


def _reasons(
    job: ExplainJob,
    model: ExplainableModel,
    spec: ReasonsSpec,
    row: int,
    *,
    values: np.ndarray,
    errors: np.ndarray | None,
) -> dict[str, Any]:
    """values, errors: (players,), the attributions of the output `against` and their standard errors."""
    margin = model.outputs.margins(spec.against, job.served.unpack()[row : row + 1], spec.threshold)[0]
    is_against = bool(margin < 0 if spec.below else margin >= 0)
    is_high = is_against != spec.below  # whether the row's outcome is that of a larger output
    names, texts = model.partition.fixed.names, model.reason_texts[str(job.reasons)]
    instance = as_row(model.spec, unpacked(job.rows), row)
    named: list[dict[str, Any]] = []
    for player, tied in _principal(spec, names, values if is_high else -values, errors):
        key = names[player]
        text = texts.texts[key]
        members = model.partition.groups.get(key) or model.spec.members(key)
        named.append(
            {
                "code": text.code,
                "feature": key,
                "text": text.raises if is_high else text.lowers,
                "value": instance[key] if key in instance else {each: instance[each] for each in members},
                "attribution": float(values[player]),
                **({"tied_with": [names[other] for other in tied]} if tied else {}),
            }
        )
    silent = sum(abs(float(values[names.index(key)])) for key in spec.never)
    sentence = texts.sentence if is_against else texts.otherwise
    return {
        "output": spec.against,
        "against": is_against,
        "named": named,
        **({"not_named": silent / float(np.abs(values).sum())} if silent else {}),
        **({"sentence": sentence.replace(LISTED, "; ".join(each["text"] for each in named))} if named else {}),
    }


def _principal(
    spec: ReasonsSpec, names: Sequence[str], pushes: np.ndarray, errors: np.ndarray | None
) -> list[tuple[int, list[int]]]:
    """The players that pushed most towards the outcome, the largest first, each with the players tied with it.

    pushes, errors: (players,), the attribution towards the outcome and its standard error, if the method samples.
    """
    rounding = ROUNDING * float(np.abs(pushes).max())
    allowed = [player for player in np.argsort(-pushes, kind="stable").tolist() if names[player] not in spec.never]

    def is_tied(one: int, other: int) -> bool:
        error = 0.0 if errors is None else float(np.hypot(errors[one], errors[other]))
        return one != other and abs(pushes[one] - pushes[other]) <= max(rounding, TIED_ERRORS * error)

    return [
        (player, [other for other in allowed if is_tied(player, other)])
        for player in allowed[: spec.most]
        if pushes[player] > rounding
    ]


def _similar(job: ExplainJob, model: ExplainableModel, row: int, count: int) -> dict[str, Any]:
    """The fields `similar`, if rows are wanted, and `more_unusual_share`: how unusual the row is among them."""
    distances, table = model.comparison(job.background)
    rows = {name: array[row : row + 1] for name, array in unpacked(job.rows).items()}
    own = distances.table(model.gaps.filled(rows))
    share = {"more_unusual_share": float(distances.more_unusual(own)[0])}
    if not count:
        return share
    gaps = distances.to_background(own)[0]
    predictions = model.outputs.predictions(table)
    nearest = np.argsort(gaps, kind="stable")[:count].tolist()
    shown = [
        {
            "row": place,
            "distance": float(gaps[place]),
            "instance": as_row(model.spec, distances.arrays(distances.background[place : place + 1]), 0),
            "prediction": predictions[place],
        }
        for place in nearest
    ]
    return {"similar": shown, **share}
