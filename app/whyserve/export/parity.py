"""Compare the exported ONNX network with the original, row by row, in batches of several sizes."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from whyserve.errors import ModelFault, ParityFault, first_line
from whyserve.export.rows import TrialRows, output_not_finite
from whyserve.export.stages.stage import NETWORK_OUTPUT_FILE, ORIGINAL_FILE, in_batches
from whyserve.model.manifest import ONNX_FILE, Parity
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec
from whyserve.onnx.graph_check import check_graph
from whyserve.onnx.runtime import onnxruntime as ort

BOUND = 1e-5  # of the output's scale
BATCHES = (1, 2, 64)


def check_parity(spec: ModelSpec, work: Path, rows: TrialRows) -> tuple[Parity, int]:
    """Compare the outputs that the stages wrote to `work`. Returns the result and the number of columns of the output.

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
    largest = 0.0
    for batch in BATCHES:
        try:
            served = as_table(spec, in_batches(lambda part: _run(session, part), rows.arrays, batch))
        except Exception as error:
            raise ParityFault(
                f"{spec.name}/{ONNX_FILE}: fails on a batch of {batch} rows: {first_line(error)}"
            ) from error
        largest = max(largest, _largest_gap(f"{spec.name}: ONNX in batches of {batch}", served, original, rows))
    twin = None
    if spec.framework == "keras":
        network = as_table(spec, np.load(work / NETWORK_OUTPUT_FILE))
        twin = _largest_gap(f"{spec.name}: Keras on torch", network, original, rows)
    parity = Parity(rows=len(original), largest=largest, bound=BOUND, batches=BATCHES, twin_largest=twin)
    return parity, original.shape[1]


def parity_text(parity: Parity) -> str:
    """A measured parity, for people."""
    twin = "" if parity.twin_largest is None else f"; Keras on torch by {parity.twin_largest:.0e}"
    return (
        f"the ONNX network differs from the original by at most {parity.largest:.0e} of the output's scale"
        f" on {parity.rows} rows{twin}"
    )


def as_table(spec: ModelSpec, array: np.ndarray) -> np.ndarray:
    """(rows,) or (rows, columns) → (rows, columns). Raises ModelFault if model.toml does not name each column."""
    table = array[:, None] if array.ndim == 1 else array
    if table.ndim != 2 or not spec.accepts_width(table.shape[1]):
        raise ModelFault(
            f"{spec.name}/model.toml: [output] names {spec.width} ({', '.join(spec.output_names)}),"
            f" but the network returns shape {array.shape[1:]} per row; name each output once"
        )
    return table


def _run(session: ort.InferenceSession, rows: Arrays) -> np.ndarray:
    result: np.ndarray = session.run(None, rows)[0]
    return result


def _check_finite(spec: ModelSpec, original: np.ndarray, rows: TrialRows) -> None:
    last = max(end for name, _, end in rows.sets if name != "extreme")
    wrong = ~np.isfinite(original[:last]).all(axis=1)
    if wrong.any():
        raise ModelFault(f"{spec.name}: {output_not_finite(rows.describe(int(wrong.argmax())))}")


def _largest_gap(who: str, served: np.ndarray, original: np.ndarray, rows: TrialRows) -> float:
    """The largest |difference| divided by the scale of its set of rows. Raises ParityFault above BOUND."""
    largest = 0.0
    for _, first, end in rows.sets:
        gap = _gaps(served[first:end].astype(np.float64), original[first:end].astype(np.float64))
        worst = int(gap.argmax())
        if gap[worst] > BOUND:
            raise ParityFault(
                f"{who}: the output differs from the original by {gap[worst]:.1e} of its scale"
                f" on {rows.describe(first + worst)}; at most {BOUND:.0e} is allowed"
            )
        largest = max(largest, float(gap[worst]))
    return largest


def _gaps(served: np.ndarray, original: np.ndarray) -> np.ndarray:
    """(rows,): the largest |difference| of each row, divided by the scale of all rows."""
    scale = _scale(original[np.isfinite(original)])
    # On extreme rows, a network may overflow. Then both networks must give the same infinity, or both NaN.
    both_finite = np.isfinite(served) & np.isfinite(original)
    gap = np.where(both_finite, np.abs(served - original), np.where(served == original, 0, np.inf))
    gap = np.where(np.isnan(served) & np.isnan(original), 0, gap)
    return np.asarray(gap.max(axis=1) / scale)


def _scale(values: Iterable[float]) -> float:
    largest = max((abs(value) for value in np.asarray(values).ravel()), default=0.0)
    return float(largest) or 1.0
