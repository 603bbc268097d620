"""What a summary of many rows answers: each model's own type, made of that of its explanations."""

from typing import Annotated, Any

from pydantic import Field

from whyserve.api.schemas.models import explain_response, list_of, nested, one_of, type_name, typed_dict
from whyserve.model.manifest import Manifest

# Of an explanation's answer, what a summary has something else for, or never is.
NOT_HERE = ("explanations", "cached")


def summary_response(manifest: Manifest) -> Any:
    name = type_name(manifest.spec.name)
    answer = explain_response(manifest).__annotations__
    # Of a text, one number per place: its tokens differ from row to row.
    means = {
        key: nested(float, form.shape)
        for item in manifest.spec.inputs
        for key, form in item.attribution_forms().items()
    }
    summed = typed_dict(
        f"{name}SummarisedOutput",
        {
            "output": one_of(manifest.spec.output_names),
            "rows": int,
            "mean_value": float,
            "mean_absolute_attributions": typed_dict(f"{name}MeanAttributions", means),
            "largest_residual": float,
        },
        "One output, over the rows at which it was explained.",
    )
    fields = {key: of for key, of in answer.items() if key not in NOT_HERE}
    rows = Annotated[int, Field(description="How many rows it is of: fewer than asked where time ran out.")]
    return typed_dict(f"{name}SummaryResponse", {**fields, "rows": rows, "summary": list_of(summed)})
