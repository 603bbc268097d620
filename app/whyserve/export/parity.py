"""Compare the exported ONNX network with the original, row by row, in batches of several sizes."""

from functools import cache
from typing import Any

import numpy as np

from whyserve.errors import ModelFault, ParityFault, first_line
from whyserve.export.comparison import BOUND, FIXED_BATCH, Comparison, as_table, largest_gap
from whyserve.export.progress import step
from whyserve.export.rows import TrialRows, output_not_finite
from whyserve.export.stages.stage import Table, Task, in_batches, run_stage
from whyserve.model.manifest import LOGITS, Parity
from whyserve.model.spec import ONNX_FILE, ModelSpec
from whyserve.onnx.session import open_model

BATCHES = (1, 2, 64)


def check_parity(spec: ModelSpec, task: Task, rows: TrialRows) -> tuple[Parity, int]:
    """Compare the outputs that the stages wrote. Returns the result and the number of columns of the output.

    Raises ModelFault or ParityFault, which name the row.
    """

    def table(name: Table) -> np.ndarray:
        return as_table(spec, task.table(name))

    @cache
    def exact() -> np.ndarray | None:
        run_stage("whyserve.export.stages.rounding", [task], "torch")
        return table(Table.EXACT) if task.path(Table.EXACT).exists() else None

    original = table(Table.ORIGINAL)
    last = max(end for name, _, end in rows.sets if name != "extreme")
    finite = np.isfinite(original[:last]).all(axis=1)
    if not finite.all():
        raise ModelFault(f"{spec.name}: {output_not_finite(rows.describe(int(finite.argmin())))}")
    session, output = open_model(task.path(ONNX_FILE).read_bytes(), spec, threads=0), [spec.output.tensor]
    comparison = Comparison(spec, original, rows, exact)
    largest = 0.0
    for batch in BATCHES:
        step(f"{spec.name}: comparing {len(original)} rows in batches of {batch}")
        try:
            served = as_table(spec, in_batches(lambda part: session.run(output, part)[0], rows.arrays, batch))
        except Exception as error:
            raise ParityFault(
                f"{spec.name}/{ONNX_FILE}: fails on a batch of {batch} rows: {first_line(error)}; {FIXED_BATCH}"
            ) from error
        largest = max(largest, comparison.largest(f"ONNX in batches of {batch}", served, batch))
    twin = comparison.largest("Keras on torch", table(Table.NETWORK)) if spec.framework == "keras" else None
    parity = Parity(
        rows=len(original),
        largest=largest,
        bound=comparison.bound,
        batches=BATCHES,
        itself=spec.framework == "onnx",
        logits_largest=_logits_parity(session, task, rows),
        twin_largest=twin,
    )
    return parity, original.shape[1]


def _logits_parity(session: Any, task: Task, rows: TrialRows) -> float | None:
    """The largest difference of the logits; None if there are none, or if they differ by more than BOUND."""
    if not task.path(Table.LOGITS).exists():
        return None
    original, largest = task.table(Table.LOGITS), 0.0
    for batch in BATCHES:
        served = in_batches(lambda part: session.run([LOGITS], part)[0], rows.arrays, batch).reshape(original.shape)
        for _, first, end in rows.sets:
            finite = np.isfinite(original[first:end]).all(1)
            if finite.any():
                largest = max(largest, largest_gap(served[first:end][finite], original[first:end][finite])[0])
    return largest if largest <= BOUND else None


def parity_text(parity: Parity) -> str:
    """A measured parity, for people."""
    if parity.itself:
        sizes = ", ".join(map(str, parity.batches))
        return (
            f"the ONNX file is the original; its outputs in batches of {sizes} rows differ by at most"
            f" {parity.largest:.0e} of the output's scale on {parity.rows} rows"
        )
    why = "" if parity.bound <= BOUND else ", which is rounding: the original is as far from its own run in float64"
    twin = "" if parity.twin_largest is None else f"; Keras on torch by {parity.twin_largest:.0e}"
    return (
        f"the ONNX network differs from the original by at most {parity.largest:.0e} of the output's scale"
        f" on {parity.rows} rows{why}{twin}"
    )
