"""The numbers of requests that a worker computes alone, and together with others."""

import numpy as np
import pytest

from tests.conftest import MODELS, rows_of
from whyserve.explain.models.explainable import load_model
from whyserve.explain.worker.batch import attribute
from whyserve.jobs import ExplainJob
from whyserve.predict.explain_options import ExplainOptions
from whyserve.predict.predictor import load_predictor

JOBS = 12


@pytest.mark.parametrize("name", ["breast_cancer", "penguins", "digits", "sunspots"])
def test_alone_they_are_equal_and_together_equal_to_rounding(name, artifacts):
    predictor, model = load_predictor(artifacts / name, 1), load_model(MODELS, artifacts / name, 1 << 28)
    asked = ExplainOptions.of(predictor, {"outputs": "all"})

    def job(row) -> ExplainJob:
        arrays = predictor.arrays([row])
        table = predictor.table(arrays)
        outputs = asked.outputs(predictor, table)
        return ExplainJob.of(predictor.spec, predictor.digest, arrays, table, outputs, **asked.fields)

    def explained(*jobs: ExplainJob) -> np.ndarray:
        return attribute(jobs, model, lambda _: True)[2].values

    jobs = [job(row) for row in rows_of(name, JOBS)]
    alone = np.concatenate([explained(each) for each in jobs])
    assert np.array_equal(alone, np.concatenate([explained(each) for each in jobs]))
    # The rows of several requests share matrix products: their float32 terms are added in another order.
    scale = np.abs(np.concatenate([each.served.unpack() for each in jobs])).max()
    assert np.abs(explained(*jobs) - alone).max() <= 1e-6 * scale
