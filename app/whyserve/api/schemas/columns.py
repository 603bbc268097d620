"""Rows as columns: {"columns": {"age": [36, 41], …}}, as a DataFrame's `to_dict("list")` gives them."""

from typing import Annotated, Any

from pydantic import Field

from whyserve.api.schemas.rows import row_fields
from whyserve.api.schemas.types import list_of, type_name, typed_dict
from whyserve.errors import InvalidInput
from whyserve.model.manifest import Manifest


def columns_type(manifest: Manifest, limit: int) -> Any:
    """One list per key of an instance, each with 1 to `limit` values."""
    bounds = Field(min_length=1, max_length=limit, fail_fast=True)
    fields = {key: Annotated[list_of(of), bounds] for key, of in row_fields(manifest).items()}
    words = "One list per key of an instance, all of the same length."
    return typed_dict(f"{type_name(manifest.spec.name)}Columns", fields, words)


def set_instances(request: dict[str, Any]) -> None:
    """Replace the `columns` of a valid request by `instances`.

    Raises InvalidInput if the request has both or neither, or if the columns have different lengths.
    """
    if "columns" not in request:
        if "instances" not in request:
            raise InvalidInput('"instances" is missing', field="instances")
        return
    columns = request.pop("columns")
    if "instances" in request:
        raise InvalidInput('"columns" must not stand beside "instances"; send one of the two', field="columns")
    first, *others = columns
    for name in others:
        if len(columns[name]) != len(columns[first]):
            raise InvalidInput(
                f'"columns.{name}" has {len(columns[name])} values, but "columns.{first}" has {len(columns[first])};'
                " send one value per row in each column",
                field=f"columns.{name}",
            )
    request["instances"] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
