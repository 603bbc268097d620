"""A network of half or mixed precision, and its copy in float32, which is served."""

from typing import Any

import numpy as np

from whyserve.errors import ModelFault
from whyserve.export.comparison import largest_gap

# By type of half precision: the distance between 1 and the next larger number.
ROUNDING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
# Rounding errors add up over the layers: the bound is this number of roundings to the original's type.
ROUNDINGS = 16


def compared(original: np.ndarray, served: np.ndarray, dtype: str, rounding: float) -> dict[str, Any]:
    """[precision] of model.toml. original, served: the outputs of both networks for the background, (rows, …).

    dtype: the type of the original. rounding: the distance of that type between 1 and the next larger number.
    Raises ModelFault if the outputs differ by more than rounding explains.
    """
    bound = ROUNDINGS * rounding
    largest, row, _ = largest_gap(original, served)
    if largest > bound:
        raise ModelFault(
            f"the network in {dtype} and its copy for serving differ by {largest:.1e} of the output's scale on row"
            f" {row} of the background, more than rounding explains ({bound:.0e}); its code may depend on values or on"
            " the number of rows, or its numbers may overflow"
        )
    return {"original": dtype, "largest": largest, "bound": bound}
