"""Compare the exported ONNX network with the original, row by row, in batches of several sizes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from whyserve.errors import ModelFault, ParityFault, first_line
from whyserve.export.comparison import BOUND, FIXED_BATCH, Comparison, as_table
from whyserve.export.progress import step
from whyserve.export.rows import TrialRows, output_not_finite
from whyserve.export.stages.stage import NETWORK_OUTPUT_FILE, ORIGINAL_FILE, in_batches
from whyserve.model.manifest import ONNX_FILE, Parity
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec
from whyserve.onnx.graph_check import check_graph
from whyserve.onnx.runtime import onnxruntime as ort

BATCHES = (1, 2, 64)


def check_parity(
    spec: ModelSpec, work: Path, rows: TrialRows, exact: Callable[[], np.ndarray | None] = lambda: None
) -> tuple[Parity, int]:
    """Compare the outputs that the stages wrote to `work`. Returns the result and the number of columns of the output.

    exact: the output of the original in float64, which is asked for if a difference exceeds BOUND.
    Raises ModelFault or ParityFault, which name the row.
    """
    original = as_table(spec, np.load(work / ORIGINAL_FILE))
    _check_finite(spec, original, rows)
    content = (work / ONNX_FILE).read_bytes()
    check_graph(content, f"{spec.name}/{ONNX_FILE}")
    try:
        session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelFault(f"{spec.name}: ONNX Runtime cannot load the exported network: {first_line(error)}") from error
    comparison = Comparison(spec, original, rows, exact)
    largest = 0.0
    for batch in BATCHES:
        step(f"{spec.name}: comparing {len(original)} rows in batches of {batch}")
        try:
            served = as_table(spec, in_batches(lambda part: _run(session, part), rows.arrays, batch))
        except Exception as error:
            raise ParityFault(
                f"{spec.name}/{ONNX_FILE}: fails on a batch of {batch} rows: {first_line(error)}; {FIXED_BATCH}"
            ) from error
        largest = max(largest, comparison.largest(f"ONNX in batches of {batch}", served, batch))
    twin = None
    if spec.framework == "keras":
        twin = comparison.largest("Keras on torch", as_table(spec, np.load(work / NETWORK_OUTPUT_FILE)))
    parity = Parity(rows=len(original), largest=largest, bound=comparison.bound, batches=BATCHES, twin_largest=twin)
    return parity, original.shape[1]


def parity_text(parity: Parity) -> str:
    """A measured parity, for people."""
    why = "" if parity.bound <= BOUND else ", which is rounding: the original is as far from its own run in float64"
    twin = "" if parity.twin_largest is None else f"; Keras on torch by {parity.twin_largest:.0e}"
    return (
        f"the ONNX network differs from the original by at most {parity.largest:.0e} of the output's scale"
        f" on {parity.rows} rows{why}{twin}"
    )


def _run(session: ort.InferenceSession, rows: Arrays) -> np.ndarray:
    result: np.ndarray = session.run(None, rows)[0]
    return result


def _check_finite(spec: ModelSpec, original: np.ndarray, rows: TrialRows) -> None:
    last = next(end for name, _, end in rows.sets if name == "random")
    wrong = ~np.isfinite(original[:last]).all(axis=1)
    if wrong.any():
        raise ModelFault(f"{spec.name}: {output_not_finite(rows.describe(int(wrong.argmax())))}")
