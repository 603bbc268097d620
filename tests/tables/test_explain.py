"""`whyserve explain`: a file of rows becomes a file of explanations, with the values that the service gives."""

import contextlib
import csv
import io
import json
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from tests.conftest import MODELS, ROOT, rows_of
from whyserve.cli import main


@pytest.fixture
def command(artifacts, tmp_path):
    """A command line without its program."""
    folders = ["--models", str(MODELS), "--artifacts", str(artifacts), "--state", str(tmp_path / "state")]
    return lambda *arguments: ["explain", *map(str, arguments), *folders]


@pytest.fixture
def explain_alone(command):
    """Runs `whyserve explain` in a process of its own."""
    return lambda *arguments: subprocess.run(
        [sys.executable, "-m", "whyserve.cli", *command(*arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def explain(command):
    """Runs `whyserve explain` in this process, in which the libraries are loaded already."""
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()

    def run(*arguments):
        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(command(*arguments))
            except SystemExit as end:  # with a message, Python prints it and exits with 1
                code = end.code if isinstance(end.code, int) else print(end.code, file=err) or 1
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    yield run
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)


def test_each_row_of_a_table_has_the_explanation_of_the_service(explain_alone, client, tmp_path):
    rows = rows_of("penguins", 40)
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    done = explain_alone("penguins", tmp_path / "rows.parquet", "-o", tmp_path / "why.parquet", "--outputs", "all")
    assert done.returncode == 0, done.stderr
    assert "40 of 40 rows explained" in done.stdout
    lines = pa.parquet.read_table(tmp_path / "why.parquet").to_pylist()
    answer = client.post("/explain", json={"model": "penguins", "instances": rows, "outputs": "all"}).json()
    served = [
        (number, output)
        for number, explanation in enumerate(answer["explanations"], 1)
        for output in explanation["outputs"]
    ]
    assert len(lines) == len(served) == 120
    for line, (number, output) in zip(lines, served, strict=True):
        assert (line["row"], line["output"], line["error"]) == (number, output["output"], None)
        for name in ("value", "base_value", "residual"):
            assert line[name] == pytest.approx(output[name], abs=1e-5)
        for key, value in output["attributions"].items():
            assert line[f"attribution.{key}"] == pytest.approx(value, abs=1e-5)
    facts = json.loads(pa.parquet.read_metadata(tmp_path / "why.parquet").metadata[b"whyserve"])
    assert facts["manifest"] == answer["manifest"]
    assert facts["method"] == answer["method"]


def test_an_invalid_cell_skips_only_its_row(explain, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("bmi,bp,name\n36.1,115,a\nx,80,b\n3e38,-3e38,c\n22,80,d\n")
    done = explain("fclayer", path, "-o", tmp_path / "why.parquet", "--drop", "name")
    assert done.returncode == 3, done.stderr
    assert "2 of 4 rows explained" in done.stdout
    assert 'rows.csv: row 2, column "bmi": must be a number' in done.stderr
    first, second, third, fourth = pa.parquet.read_table(tmp_path / "why.parquet").to_pylist()
    assert second["error"] == 'row 2, column "bmi": must be a number'
    assert "not finite" in third["error"]
    for line in (first, fourth):
        total = line["base_value"] + line["attribution.bmi"] + line["attribution.bp"] + line["residual"]
        assert line["value"] == pytest.approx(total)
    assert not list(tmp_path.glob("*.part"))


def test_each_pixel_of_an_image_has_an_attribution_and_a_standard_error(explain, tmp_path):
    pa.parquet.write_table(pa.Table.from_pylist(rows_of("digits", 2)), tmp_path / "rows.parquet")
    asked = ("--method", "permutation", "--samples", "2", "--seed", "5", "--players", "{}")
    done = explain("digits", tmp_path / "rows.parquet", "-o", tmp_path / "why.parquet", *asked)
    assert done.returncode == 0, done.stderr
    for line in pa.parquet.read_table(tmp_path / "why.parquet").to_pylist():
        assert np.shape(line["attribution.image"]) == np.shape(line["standard_error.image"]) == (8, 8, 1)
        total = line["base_value"] + np.sum(line["attribution.image"])
        assert line["value"] == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize(
    ("model", "flags", "words"),
    [
        ("nope", [], "no exported model nope"),
        ("linear", ["--outputs", "profit"], "outputs[0]: unknown output; available outputs: progression"),
        ("linear", ["--samples", "0"], "--samples must be at least 1"),
        ("breast_cancer", ["--drop", "bmi", "--drop", "bp"], "columns missing: "),
        ("linear", ["--id", "customer"], "no column customer for --id"),
    ],
)
def test_an_invalid_argument_gives_one_line_and_no_file(model, flags, words, explain, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("bmi,bp\n36.1,115\n")
    done = explain(model, path, "-o", tmp_path / "why.parquet", *flags)
    assert done.returncode == 1
    assert words in done.stderr
    assert [found.name for found in tmp_path.iterdir() if "why" in found.name] == []


@pytest.fixture
def four_rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("customer,bmi,bp\n=1+1,36.1,115\nK2,x,80\nK3,22,80\n")
    return path


def test_each_format_holds_the_same_answers(explain, four_rows, tmp_path):
    for ending in ("parquet", "csv", "jsonl"):
        done = explain("fclayer", four_rows, "-o", tmp_path / f"why.{ending}", "--id", "customer")
        assert done.returncode == 3, done.stderr
    lines = pa.parquet.read_table(tmp_path / "why.parquet").to_pylist()
    assert [line["id"] for line in lines] == ["=1+1", "K2", "K3"]
    written = [json.loads(line) for line in (tmp_path / "why.jsonl").read_text().splitlines()]
    assert [{name: line[name] for name in found} for line, found in zip(lines, written, strict=True)] == written
    with (tmp_path / "why.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    # A spreadsheet must not run a cell as a formula.
    assert [line["id"] for line in table] == ["'=1+1", "K2", "K3"]
    for line, found in zip(lines, table, strict=True):
        assert found["error"] == (line["error"] or "")
        for name in ("value", "base_value", "attribution.bmi"):
            assert found[name] == ("" if line[name] is None else repr(line[name]))


def test_nothing_is_overwritten_by_accident(explain, four_rows, tmp_path):
    before = four_rows.read_bytes()
    (tmp_path / "why.csv").write_text("mine")
    (tmp_path / "link.csv").symlink_to(four_rows)
    for name, flags, words in (
        ("why.csv", (), "the file exists; add --force"),
        ("rows.csv", ("--force",), "is the file of rows"),
        ("link.csv", ("--force",), "is the file of rows"),
        ("why.xlsx", (), "unknown format; the name must end in .parquet, .pq, .csv, .jsonl"),
    ):
        done = explain("fclayer", four_rows, "-o", tmp_path / name, "--drop", "customer", *flags)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert four_rows.read_bytes() == before
    assert (tmp_path / "why.csv").read_text() == "mine"


def test_the_exit_code_says_whether_no_row_was_explained(explain, tmp_path):
    (tmp_path / "rows.csv").write_text("bmi,bp\nx,1\n")
    assert explain("fclayer", tmp_path / "rows.csv", "-o", tmp_path / "why.csv").returncode == 4
    assert explain("fclayer", tmp_path / "rows.csv").returncode == 2


def test_a_file_can_be_explained_with_another_background(explain, client, tmp_path):
    rows = rows_of("penguins", 5)
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for background, given in (("adelie", "adelie"), (tmp_path / "rows.parquet", rows)):
        done = explain(
            "penguins", tmp_path / "rows.parquet", "-o", tmp_path / "why.parquet", "--background", background, "--force"
        )
        assert done.returncode == 0, done.stderr
        facts = json.loads(pa.parquet.read_metadata(tmp_path / "why.parquet").metadata[b"whyserve"])
        answer = client.post("/explain", json={"model": "penguins", "instances": rows, "background": given}).json()
        assert facts["background"] == answer["background"]
        lines = pa.parquet.read_table(tmp_path / "why.parquet").to_pylist()
        for line, explanation in zip(lines, answer["explanations"], strict=True):
            assert line["base_value"] == pytest.approx(explanation["outputs"][0]["base_value"], abs=1e-5)
    refused = explain("penguins", tmp_path / "rows.parquet", "-o", tmp_path / "no.parquet", "--background", "gentoo")
    assert refused.returncode == 1
    assert "penguins has default, adelie; or name a .csv or .parquet file of rows" in refused.stderr
    assert not (tmp_path / "no.parquet").exists()


def test_the_tokens_of_a_text_have_attributions(explain, client, tmp_path):
    names = ["Naujoji Zelandija", "東京", "Nowa, “Zelandia”", ""]
    path = tmp_path / "rows.csv"
    path.write_text("name\n" + "\n".join('"' + name + '"' for name in names) + "\n")
    done = explain("places", path, "-o", tmp_path / "why.parquet", "--method", "permutation")
    assert "2 of 4 rows explained" in done.stdout, done.stderr
    lines = pa.parquet.read_table(tmp_path / "why.parquet").to_pylist()
    fault = 'column "name": has no token that this model knows'
    assert [line["error"] for line in lines] == [None, f"row 2, {fault}", None, f"row 4, {fault}"]
    asked = {"model": "places", "method": "permutation", "instances": [{"name": names[0]}, {"name": names[2]}]}
    explained = client.post("/explain", json=asked).json()["explanations"]
    for line, explanation in zip((lines[0], lines[2]), explained, strict=True):
        (output,) = explanation["outputs"]
        found, expected = line["attribution.name"], output["attributions"]["name"]
        assert [(t["token"], t["start"], t["end"]) for t in found] == [
            (t["token"], t["start"], t["end"]) for t in expected
        ]
        np.testing.assert_allclose([t["value"] for t in found], [t["value"] for t in expected], atol=1e-5)
        assert len(line["standard_error.name"]) == len(expected)
