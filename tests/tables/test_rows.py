"""Files of rows: the values that are read, and the message for each invalid cell."""

import csv
import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.conftest import MODELS
from tests.pictures import text_of
from whyserve.errors import InvalidInput
from whyserve.model.arrays import read_npz
from whyserve.model.fill import TO_ALLOW
from whyserve.model.rows import as_row
from whyserve.model.spec import read_spec
from whyserve.tables.files import Dialect, open_rows
from whyserve.tables.rows import EVERY, Reading, TableReader

LINEAR = read_spec(MODELS / "linear")
PENGUINS = read_spec(MODELS / "penguins")
DIGITS = read_spec(MODELS / "digits")


def read_rows(place, spec, reading=EVERY, **known):
    file = open_rows(place, reading.dialect)
    reader = TableReader(spec, file.names, reading, place=f"{file.name}: ", **known)
    return reader.read(next(file.chunks(file.count, 0)))


def text(tmp_path, content):
    path = tmp_path / "rows.csv"
    path.write_text(content, encoding="utf-8")
    return path


def background(name):
    return read_npz((MODELS / name / "background.npz").read_bytes())


@pytest.mark.parametrize("spec", [LINEAR, PENGUINS, DIGITS], ids=lambda spec: spec.name)
def test_rows_written_to_parquet_are_read_back_unchanged(spec, tmp_path):
    arrays = background(spec.name)
    rows = [as_row(spec, arrays, number) for number in range(20)]
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    read = read_rows(tmp_path / "rows.parquet", spec)
    assert read.numbers.tolist() == list(range(1, 21))
    assert not read.faults
    for name, array in arrays.items():
        assert read.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(read.arrays[name], array[:20])


def test_an_image_in_csv_is_json(tmp_path):
    image = as_row(DIGITS, background("digits"), 3)["image"]
    quoted = '"' + json.dumps(image) + '"'
    read = read_rows(text(tmp_path, f"image\n{quoted}\n\n{quoted}\n[1]\nx\n"), DIGITS)
    assert read.numbers.tolist() == [1, 2]
    assert set(read.faults) == {3, 4}
    assert "shape (8, 8, 1)" in read.faults[3]
    np.testing.assert_array_equal(read.arrays["image"][1], np.array(image, dtype=np.float32))


def test_an_invalid_cell_is_named_and_only_its_row_is_skipped(tmp_path):
    read = read_rows(
        text(tmp_path, "\ufeffbp,bmi\n90,30\n,30\nninety,30\n90,NaN\n1e39,30\n1_0,30\n90\n91,31,1\n95, 32.5\n"), LINEAR
    )
    assert read.numbers.tolist() == [1, 9]
    np.testing.assert_array_equal(read.arrays["x"], np.array([[30, 90], [32.5, 95]], dtype=np.float32))
    assert read.faults == {
        2: f'row 2, column "bp": is empty; it must be a number; {TO_ALLOW}',
        3: 'row 3, column "bp": must be a number',
        4: 'row 4, column "bmi": must be a finite number',
        5: 'row 5, column "bp": is too large for float32',
        6: 'row 6, column "bp": must be a number',
        7: "row 7: the number of cells is 1; 2 are needed",
        8: "row 8: the number of cells is 3; 2 are needed",
    }


def test_a_category_is_its_label(tmp_path):
    rows = [as_row(PENGUINS, background("penguins"), number) for number in range(2)]
    keys = list(rows[0])
    category = next(f for i in PENGUINS.inputs for f in i.features if f.categories)
    lines = [",".join(str(row[key]) for key in keys) for row in rows]
    wrong = ",".join("Atlantis" if key == category.name else str(rows[0][key]) for key in keys)
    read = read_rows(text(tmp_path, "\n".join([",".join(keys), *lines, wrong])), PENGUINS)
    assert read.numbers.tolist() == [1, 2]
    assert read.faults[3].startswith(f'row 3, column "{category.name}": must be one of')


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty; its first line must name the columns"),
        ("bmi,bp\n", "the file has no rows"),
        ("age\n1\n", "columns missing: bmi, bp; unknown: age; to ignore them, add --drop age"),
        (
            "bmi,bp,age,last visit\n1,2,3,4\n",
            "unknown: age, last visit; to ignore them, add --drop age --drop 'last visit'",
        ),
        ("bmi,bp,bp\n1,2,3\n", "there twice: bp"),
        ('bmi,bp\n"1,2\n', "cannot be read as CSV or Parquet"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(content, words, tmp_path):
    with pytest.raises(InvalidInput, match=r"^rows\.csv: ") as caught:
        read_rows(text(tmp_path, content), LINEAR)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("name", "content", "dialect"),
    [
        ("plain.csv", b"bmi,bp\n1.5,2\n", Dialect()),
        ("semicolon.csv", b"bmi;bp\n1,5;2\n", Dialect(decimal=",")),
        ("tabs.tsv", b"bmi\tbp\n1.5\t2\n", Dialect()),
        ("pipes.txt", b"bmi|bp\r\n1.5|2\r\n", Dialect()),
        ("quoted.csv", b'"bmi","bp"\n"1,5","2"\n', Dialect(decimal=",")),
        ("blanks.csv", b" bmi , bp \n1.5,2\n", Dialect()),
        ("mark.csv", "\ufeffbmi,bp\n1.5,2\n".encode(), Dialect()),
        ("utf16.csv", "bmi,bp\n1.5,2\n".encode("utf-16"), Dialect()),
        ("given.csv", "bmi:bp:é\n1.5:2:ü\n".encode("cp1252"), Dialect(":", "cp1252")),
        ("packed.csv.gz", gzip.compress(b"bmi,bp\n1.5,2\n"), Dialect()),
        ("index.csv", b",bmi,bp\n0,1.5,2\n", Dialect()),
        ("again.csv", b"Unnamed: 0,bmi,bp\n0,1.5,2\n", Dialect()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_csv_is_read_as_people_write_it(name, content, dialect, tmp_path):
    (tmp_path / name).write_bytes(content)
    read = read_rows(tmp_path / name, LINEAR, Reading(["é"], dialect=dialect))
    assert read.arrays["x"].tolist() == [[1.5, 2]]


def test_parquet_of_a_dataframe_is_read_without_its_index(tmp_path):
    frame = pd.DataFrame({"bmi": [1.5], "bp": [2]}, index=["a"])
    frame.to_parquet(tmp_path / "rows.pq")
    assert read_rows(tmp_path / "rows.pq", LINEAR).arrays["x"].tolist() == [[1.5, 2]]


@pytest.mark.parametrize(
    ("cell", "decimal", "words"),
    [
        ("3,950", ".", "can mean 3950 or 3.950; write it as one of these, or name the file's decimal separator with"),
        ("-3,950", ".", "can mean -3950 or -3.950"),
        ("3.950", ",", "can mean 3950 or 3,950"),
        ("1.234,5", ",", "must be a number"),
        ("1,234,5", ",", "must be a number"),
        ("1,234.5", ".", "must be a number"),
    ],
)
def test_a_number_with_two_readings_is_refused(cell, decimal, words, tmp_path):
    read = read_rows(text(tmp_path, f"bmi;bp\n{cell};2\n"), LINEAR, Reading(dialect=Dialect(decimal=decimal)))
    assert words in read.faults[1]


@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [("3,95", ".", 3.95), ("0,125", ".", 0.125), ("3.95", ",", 3.95), ("3,950", ",", 3.95), ("3.950", ".", 3.95)],
)
def test_a_number_with_one_reading_is_read(cell, decimal, value, tmp_path):
    read = read_rows(text(tmp_path, f"bmi;bp\n{cell};2\n"), LINEAR, Reading(dialect=Dialect(decimal=decimal)))
    assert read.arrays["x"][0, 0] == np.float32(value)


def test_a_file_that_is_not_utf8_needs_its_encoding(tmp_path):
    (tmp_path / "rows.csv").write_bytes("bmi,bp,é\n1,2,3\n".encode("cp1252"))
    with pytest.raises(InvalidInput, match=r"not UTF-8; add its encoding, such as `--encoding cp1252`"):
        read_rows(tmp_path / "rows.csv", LINEAR)


def test_a_column_names_the_rows(tmp_path):
    read = read_rows(text(tmp_path, "customer,bmi,bp\nK1,1,2\nK2,x,2\nK3,1\n"), LINEAR, Reading(id_column="customer"))
    assert read.ids == ["K1", "K2", "K3"]
    assert list(read.faults) == [2, 3]
    with pytest.raises(InvalidInput, match="no column client for --id"):
        read_rows(text(tmp_path, "bmi,bp\n1,2\n"), LINEAR, Reading(id_column="client"))


def test_a_column_can_be_ignored(tmp_path):
    read = read_rows(text(tmp_path, "bmi,bp,age\n1,2,3\n"), LINEAR, Reading(["age"]))
    assert read.arrays["x"].tolist() == [[1, 2]]


def test_a_file_of_another_format_is_refused(tmp_path):
    for name in ("rows.csv", "rows.parquet"):
        (tmp_path / name).write_bytes(b"\xff\xfePAR1\x00")
        with pytest.raises(InvalidInput, match="cannot be read as CSV or Parquet"):
            read_rows(tmp_path / name, LINEAR)
    with pytest.raises(InvalidInput, match=r"rows\.xlsx: unknown format; the name must end in \.csv"):
        read_rows(tmp_path / "rows.xlsx", LINEAR)
    with pytest.raises(InvalidInput, match=r"none\.csv: no such file"):
        read_rows(tmp_path / "none.csv", LINEAR)


def test_an_image_is_nested_lists_or_a_file_in_base64(tmp_path):
    levels = np.arange(64).reshape(8, 8) * 4
    cells = [json.dumps(np.ones((8, 8, 1)).tolist()), text_of(levels), "aGVsbG8=", text_of(levels[:4])]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image"], *([cell] for cell in cells)])
    read = read_rows(tmp_path / "rows.csv", DIGITS)
    np.testing.assert_allclose(read.arrays["image"][1, ..., 0], levels / 255 * 16, rtol=1e-6)
    assert read.faults == {
        3: 'row 3, column "image": is not a PNG or JPEG file',
        4: 'row 4, column "image": is an image of 8 × 4 pixels; the model takes 8 × 8',
    }
