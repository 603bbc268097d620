"""The setting `missing` of a feature in model.toml."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, FiniteFloat, StrictBool, StringConstraints

# Fills that are computed from the background.
FILLS = ("median", "mean", "mode")
# The end of a message that refuses a missing value.
TO_ALLOW = "to send missing values, set `missing` of the feature in model.toml"


class FilledWith(BaseModel):
    """The value that replaces a missing one: a number, a category, true or false, or one of FILLS."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fill: StrictBool | FiniteFloat | Annotated[str, StringConstraints(min_length=1, max_length=200)]


def fault_of(missing: bool | FilledWith, of: type, dtype: str, categories: Sequence[str] = ()) -> str | None:
    """Why the network cannot get what `missing` says; None if it can.

    of: the type of a value in a request. dtype: of the input. categories: of the feature.
    """
    if dtype == "bool":
        return "dtype bool has no missing value; use uint8 and boolean = true"
    if not isinstance(missing, FilledWith):
        is_number = not categories and (of is int or "int" in dtype)
        word = "median" if of is int else "mode"
        return f'an integer cannot be NaN; use {{ fill = "{word}" }}' if is_number else None
    fill = missing.fill
    if categories or of is bool:
        is_known = fill == "mode" or fill in (categories or (True, False))
        return None if is_known else 'fill must be "mode" or a value that requests can send'
    is_known = fill in FILLS if isinstance(fill, str) else fill is not True and fill is not False
    if is_known and not (of is int and isinstance(fill, float) and not fill.is_integer()):
        return None
    return f"fill must be {', '.join(FILLS)} or a number that requests can send"
