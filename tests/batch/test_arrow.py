"""`whyserve.batch.explainer`: Arrow tables, and the batches of Spark, become the lines of the local command."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import MODELS, rows_of
from whyserve.batch import explainer
from whyserve.errors import InvalidInput
from whyserve.explain.models.explainable import load_model
from whyserve.tables.explain import Question, explain_files
from whyserve.tables.rows import Reading


def close(one, other):
    for name in other.column_names:
        mine, its = one[name].combine_chunks(), other[name].combine_chunks()
        if pa.types.is_floating(mine.type) and mine.null_count == 0:
            np.testing.assert_allclose(mine.to_numpy(), its.to_numpy(), atol=1e-9)
        else:
            assert mine.equals(its), name


@pytest.fixture
def table():
    rows = [{**row, "customer": f"K{number}"} for number, row in enumerate(rows_of("penguins", 700))]
    rows[600]["island"] = "Atlantis"
    return pa.Table.from_pylist(rows)


@pytest.fixture
def local(table, artifacts, tmp_path):
    pa.parquet.write_table(table, tmp_path / "rows.parquet")
    model, out = load_model(MODELS, artifacts / "penguins", 64 << 20), tmp_path / "why.parquet"
    reading = Reading(id_column="customer")
    explain_files(
        model, [tmp_path / "rows.parquet"], out, Question(outputs="all"), reading, on_progress=lambda *_: None
    )
    return pa.parquet.read_table(out)


def test_a_table_gives_the_lines_of_the_local_command(table, local, artifacts):
    explain = explainer(artifacts / "penguins", outputs="all", id="customer")
    explain(table.slice(0, 1))  # A function that was used can still be sent to another process.
    found = pickle.loads(pickle.dumps(explain))(table)
    assert found.schema.equals(explain.schema)
    assert len(found) == 699 * 3 + 1
    close(found, local)
    wrong = found.filter(pa.compute.is_valid(found["error"])).to_pylist()
    assert [(line["row"], line["id"]) for line in wrong] == [(601, "K600")]
    assert 'column "island": must be one of' in wrong[0]["error"]


def test_the_batches_of_spark_give_the_same_lines(table, local, artifacts):
    """`mapInArrow` calls its function with an iterator of batches, and expects one."""
    given = iter([*table.to_batches(max_chunksize=150), *table.slice(0, 0).to_batches()])
    found = explainer(artifacts / "penguins", outputs="all", id="customer")(given)
    first = next(found)
    assert isinstance(first, pa.RecordBatch)
    close(pa.Table.from_batches([first, *found]), local)


def test_a_table_without_rows_has_the_same_columns(table, artifacts):
    explain = explainer(artifacts / "penguins", drop=["customer"])
    found = explain(table.slice(0, 0))
    assert len(found) == 0
    assert found.schema.equals(explain.schema)


def test_columns_that_do_not_fit_are_named(table, artifacts):
    with pytest.raises(InvalidInput, match=r"^columns missing: island; unknown: isle, customer"):
        explainer(artifacts / "penguins")(table.rename_columns({"island": "isle"}))
