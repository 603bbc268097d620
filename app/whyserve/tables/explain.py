"""Explain the rows of tables in this process, without a service: of files, and of Arrow tables."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from whyserve.errors import InvalidInput, UnsupportedNetwork
from whyserve.explain.models.explainable import ExplainableModel
from whyserve.explain.worker.batch import attribute
from whyserve.explain.worker.results import common_fields
from whyserve.jobs import ExplainJob, GivenBackground
from whyserve.model.rows import Arrays
from whyserve.model.scale import scale_of
from whyserve.model.spec import DEFAULT_BACKGROUND, ScaleName
from whyserve.tables.answers import open_answers
from whyserve.tables.files import Chunk, open_rows
from whyserve.tables.lines import columns_of, lines_of, schema_of
from whyserve.tables.rows import EVERY, Reading, RowsRead, TableReader

# Rows that are explained together: at most so many, with inputs of at most so many bytes.
CHUNK_ROWS, CHUNK_BYTES = 1024, 1 << 23
# The messages of so many rows that could not be explained are kept; the file of answers has all of them.
KEPT_FAULTS = 10

# Called with the number of rows done, which may be a fraction, and the number of all rows.
OnProgress = Callable[[float, int], object]


# Fields of a Question that are fields of a job too.
OF_JOB = ("method", "samples", "standard_error", "seed", "background", "players")


@dataclass(frozen=True, slots=True)
class Question:
    """The parameters of a request to /explain; they apply to every row."""

    method: str = "auto"
    outputs: str | Sequence[str] = "top"
    samples: int | None = None
    standard_error: float | None = None
    seed: int = 0
    background: str | GivenBackground = DEFAULT_BACKGROUND
    scale: ScaleName | None = None
    instead_of: str | None = None
    players: dict[str, Any] | None = None


class Explanations(NamedTuple):
    """The answers of some rows. lines: one for each row and output. faults: the message by number of each row that was
    not explained. facts: what holds for all of them, and the numbers of rows and of refused rows.
    """

    lines: pa.RecordBatch
    faults: dict[int, str]
    facts: dict[str, Any]


@dataclass(slots=True)
class Totals:
    """rows: the number of rows so far. refused: of rows that were not explained. faults: the first messages of them."""

    rows: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, rows: int, faults: Mapping[int, str], name: str) -> None:
        """Count rows of the file `name`."""
        self.merge(Totals(rows, len(faults), [f"{name}: {fault}" for fault in faults.values()]))

    def merge(self, other: "Totals") -> None:
        self.rows += other.rows
        self.refused += other.refused
        self.faults += other.faults[: KEPT_FAULTS - len(self.faults)]


def explain_files(
    model: ExplainableModel,
    places: Sequence[str | Path],
    answers: str | Path,
    question: Question,
    reading: Reading = EVERY,
    *,
    on_progress: OnProgress,
) -> Totals:
    """Explain each row of files, in their order, as if they were one. If one row cannot be explained, only that row has
    an error in the answers. Memory does not grow with the number of rows.

    `value` is the output of the original network, because this process does not run ONNX Runtime.
    on_progress: called during the work.
    Raises InvalidInput, UnknownLabel, UnsupportedMethod, ConfigurationError.
    """
    explainer, totals = TableExplainer(model, question, reading), Totals()
    files = [open_rows(place, reading.dialect) for place in places]
    readers = [(file, explainer.reader(file.names, f"{file.name}: ")) for file in files]
    count = sum(file.count for file, _ in readers)
    with open_answers(answers, explainer.schema) as write:
        for file, reader in readers:
            for chunk in file.chunks(explainer.chunk_rows, 0):

                def say(share: float, begun: int = totals.rows, rows: int = len(chunk)) -> None:
                    on_progress(begun + share * rows, count)

                found = explainer.explain(reader, chunk, totals.rows + 1, say)
                write(found.lines, found.facts)
                totals.add(len(chunk), found.faults, file.name)
                say(1.0)
    return totals


def read_given(place: str | Path, model: ExplainableModel, reading: Reading) -> GivenBackground:
    """A background from a file of rows. Raises InvalidInput if any cell is invalid: skipping a row would change the
    background.
    """
    file, known = open_rows(place, reading.dialect), model.manifest.vocabularies
    reader = TableReader(model.spec, file.names, reading, vocabularies=known, place=f"{file.name}: ")
    read = reader.read(next(file.chunks(file.count, 0)))
    for fault in read.faults.values():
        raise InvalidInput(f"{file.name}: {fault}", field="background")
    return GivenBackground.pack(read.arrays)


class TableExplainer:
    """Explains the rows of one model. schema: the columns of the answers. chunk_rows: rows to explain together."""

    def __init__(self, model: ExplainableModel, question: Question, reading: Reading) -> None:
        self._model, self._question, self._reading = model, question, reading
        self.schema = schema_of(model.partition_of(question.players))
        row_bytes = sum(math.prod(item.row_shape) * np.dtype(item.dtype).itemsize for item in model.spec.inputs)
        self.chunk_rows = max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes))
        self._scale = scale_of(model.spec, question.scale, question.instead_of)

    def reader(self, names: Sequence[str], place: str = "") -> TableReader:
        """The reader of tables with these columns. Raises InvalidInput."""
        known = self._model.manifest.vocabularies
        texts = self._model.texts
        return TableReader(self._model.spec, names, self._reading, texts=texts, vocabularies=known, place=place)

    def explain(
        self, reader: TableReader, chunk: Chunk, first: int, on_share: Callable[[float], object] = lambda _: None
    ) -> Explanations:
        """The answers of some rows. first: the number of the first. on_share: called with the share that is done."""
        read = reader.read(chunk, first)
        faults, parts, facts = dict(read.faults), [], dict[str, Any]()

        def explain(rows: slice) -> None:
            """Explain rows together. If that fails, explain both halves, to find the rows that fail."""
            try:
                parts.append(self._columns(read, rows, on_share, facts))
            except (InvalidInput, UnsupportedNetwork) as error:
                if "field" in error.details:  # a parameter is wrong, not a row
                    raise
                if rows.stop - rows.start == 1:
                    number = int(read.numbers[rows.start])
                    faults[number] = f"row {number}: {error.message.removeprefix('instances[0]: ')}"
                    return
                middle = (rows.start + rows.stop) // 2
                explain(slice(rows.start, middle))
                explain(slice(middle, rows.stop))

        if len(read.numbers):
            explain(slice(0, len(read.numbers)))
        facts |= {"rows": len(chunk), "refused": len(faults)}
        names = read.ids
        ids = None if names is None else lambda number: names[number - first]
        faults = dict(sorted(faults.items()))
        return Explanations(lines_of(self.schema, parts, faults, ids), faults, facts)

    def _columns(
        self, read: RowsRead, rows: slice, on_share: Callable[[float], object], facts: dict[str, Any]
    ) -> dict[str, Any]:
        """The columns of the lines of some rows. facts: gets those of the answer."""
        model = self._model
        job = self._job({name: array[rows] for name, array in read.arrays.items()}, read, rows)
        total, begun = len(read.numbers), rows.start

        def on_progress(share: float) -> bool:
            on_share((begun + share * (rows.stop - begun)) / total)
            return True

        choice, partition, explained = attribute([job], model, on_progress)
        facts.update(common_fields(job, model, choice, partition, complete=explained.complete))
        return columns_of(job, model, explained, read.numbers[rows], keyed=not partition.follows_rows)

    def _job(self, arrays: Arrays, read: RowsRead, rows: slice) -> ExplainJob:
        model, question = self._model, self._question
        with torch.no_grad(), model.device.scope():
            inputs = model.device.put(model.tensors(arrays))
            table = model.network(inputs).cpu().numpy()
            logits = model.logits(inputs).cpu().numpy() if self._scale and model.manifest.ending else None
        return ExplainJob.of(
            model.spec,
            model.digest,
            arrays,
            table,
            model.outputs.wanted(question.outputs, table, question.instead_of),
            id="file",
            scale=self._scale,
            logits=logits,
            texts={name: tuple(map(model.texts[name].spans, texts[rows])) for name, texts in read.texts.items()},
            **{name: getattr(question, name) for name in OF_JOB},
        )
