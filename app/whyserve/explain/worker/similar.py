"""The background rows most similar to a row, and how unusual the row is among them."""

from typing import Any

import numpy as np

from whyserve.explain.models.explainable import ExplainableModel
from whyserve.jobs import ExplainJob
from whyserve.model.arrays import unpacked
from whyserve.model.rows import as_row


def similar_rows(job: ExplainJob, model: ExplainableModel, row: int, count: int) -> dict[str, Any]:
    """The fields `similar`, if rows are wanted, and `more_unusual_share` of one explanation."""
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
