"""Tables on a device other than the CPU. Here the device is a label, so it shows where tensors are and nothing else."""

import pyarrow as pa
import pytest

from tests.conftest import MODELS, rows_of
from tests.explain.game.labelled import LABEL, Labelled
from whyserve.explain.game.device import CPU, Device
from whyserve.explain.models.explainable import load_model
from whyserve.tables.explain import Question, TableExplainer
from whyserve.tables.rows import EVERY


@pytest.mark.parametrize("scale", [None, "log_odds"])
def test_the_lines_are_those_of_the_cpu(scale, artifacts):
    (chunk,) = pa.Table.from_pylist(rows_of("penguins", 30)).to_batches()

    def lines(device):
        model = load_model(MODELS, artifacts / "penguins", 64 << 20, device)
        explainer = TableExplainer(model, Question(outputs="all", scale=scale), EVERY)
        found = explainer.explain(explainer.reader(chunk.schema.names), chunk, 1)
        assert not found.faults
        return found.lines

    wanted = lines(CPU)
    with Labelled():
        found = lines(Device(LABEL, "label"))
    assert found.equals(wanted)
