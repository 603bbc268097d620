"""A model's summary type: what a summary of many rows answers."""

from typing import Any

from whyserve.api.schemas.responses import GroupValue, attributions_type, computed_fields
from whyserve.api.schemas.types import described, list_of, one_of, optional, type_name, typed_dict
from whyserve.model.manifest import Manifest


def summary_response(manifest: Manifest) -> Any:
    spec = manifest.spec
    name = type_name(spec.name)
    # A text has one mean per position, because its tokens differ from row to row.
    means = attributions_type(spec, "AttributionMeans", "The mean absolute attribution of each.", by_token=False)
    summarised = typed_dict(
        f"{name}SummarisedOutput",
        {
            "output": one_of(spec.output_names),
            "rows": int,
            "mean_value": float,
            "mean_absolute_attributions": means,
            "players": optional(list_of(GroupValue)),
            "largest_residual": float,
        },
        "One output, over the rows for which it was explained.",
    )
    rows = described(int, "Number of summarised rows: fewer than requested after a deadline.")
    fields = {**computed_fields(spec), "rows": rows, "summary": list_of(summarised)}
    return typed_dict(f"{name}SummaryResponse", fields)
