"""`whyserve explain MODEL rows.csv -o why.parquet`: explain a file of rows in this process, without a service."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from whyserve.errors import InvalidInput, UnsupportedNetwork
from whyserve.explain.models.explainable import ExplainableModel
from whyserve.explain.worker.batch import compute
from whyserve.jobs import ExplainJob, GivenBackground, PackedArray
from whyserve.model.rows import Arrays
from whyserve.model.scale import scale_of
from whyserve.model.spec import DEFAULT_BACKGROUND, ScaleName
from whyserve.model.text import TokenSpans
from whyserve.tables.answers import Line, lines_of, lines_of_faults, open_answers
from whyserve.tables.files import Dialect
from whyserve.tables.rows import DETECTED, RowsRead, read_rows

CHUNK_ROWS = 32

# Called with the number of rows done, which may be a fraction, and the number of rows in the file.
OnProgress = Callable[[float, int], object]


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


@dataclass(frozen=True, slots=True)
class Explained:
    """rows: the number of rows in the file. faults: the message by number of each row that was not explained."""

    rows: int
    faults: dict[int, str]


def explain_file(
    model: ExplainableModel,
    rows: Path,
    answers: Path,
    question: Question,
    *,
    drop: Sequence[str] = (),
    dialect: Dialect = DETECTED,
    id_column: str | None = None,
    on_progress: OnProgress,
) -> Explained:
    """Explain each row of a file. If one row cannot be explained, only that row has an error in the answers.

    `value` is the output of the original network, because this process does not run ONNX Runtime.
    on_progress: called during the work.
    Raises InvalidInput, UnknownLabel, UnsupportedMethod, ConfigurationError.
    """
    known = model.manifest.vocabularies
    read = read_rows(rows, model.spec, drop, model.texts, known, dialect=dialect, id_column=id_column)
    run = _Run(model, read, question, on_progress)
    with open_answers(answers, model.partition_of(question.players)) as write:
        for first in range(1, read.count + 1, CHUNK_ROWS):
            write(run.lines(range(first, min(first + CHUNK_ROWS, read.count + 1))), run.facts)
    return Explained(read.count, dict(sorted(run.faults.items())))


def read_given(path: Path, model: ExplainableModel, drop: Sequence[str], dialect: Dialect) -> GivenBackground:
    """A background from a file of rows. Raises InvalidInput if any cell is invalid: skipping a row would change the
    background.
    """
    read = read_rows(path, model.spec, drop, vocabularies=model.manifest.vocabularies, dialect=dialect)
    for fault in read.faults.values():
        raise InvalidInput(f"{path.name}: {fault}", field="background")
    return GivenBackground.pack(read.arrays)


class _Run:
    """The explanation of one file. faults: the message by number of each row that failed so far. facts: the last
    answer.
    """

    def __init__(self, model: ExplainableModel, read: RowsRead, question: Question, on_progress: OnProgress) -> None:
        self._model, self._read, self._question, self._on_progress = model, read, question, on_progress
        self._places = {number: place for place, number in enumerate(read.numbers)}
        self.faults = dict(read.faults)
        self.facts: dict[str, Any] = {}

    def lines(self, numbers: range) -> list[Line]:
        """The lines of the answers for these rows, in their order."""
        readable = [number for number in numbers if number in self._places]
        lines = self._explained(readable) if readable else []
        lines += lines_of_faults({number: self.faults[number] for number in numbers if number in self.faults})
        self._on_progress(numbers.stop - 1, self._read.count)
        if self._read.ids:
            lines = [{**line, "id": self._read.ids[line["row"] - 1]} for line in lines]
        return sorted(lines, key=lambda line: int(line["row"]))

    def _explained(self, numbers: list[int]) -> list[Line]:
        """Explain rows together. If that fails, explain each row alone, to find the rows that fail."""
        try:
            self.facts = self._answer(numbers)
            return lines_of(numbers, self.facts)
        except (InvalidInput, UnsupportedNetwork) as error:
            if "field" in error.details:  # a parameter is wrong, not a row
                raise
            if len(numbers) == 1:
                self.faults[numbers[0]] = f"row {numbers[0]}: {error.message.removeprefix('instances[0]: ')}"
                return []
        return [line for number in numbers for line in self._explained([number])]

    def _answer(self, numbers: list[int]) -> dict[str, Any]:
        places = [self._places[number] for number in numbers]
        arrays = {name: array[places] for name, array in self._read.arrays.items()}
        texts = {
            name: tuple(self._model.texts[name].spans(texts[place]) for place in places)
            for name, texts in self._read.texts.items()
        }

        def on_share(share: float) -> bool:
            self._on_progress(numbers[0] - 1 + share * len(numbers), self._read.count)
            return True

        (result,) = compute([_job(self._model, arrays, texts, self._question)], self._model, on_share)
        answer: dict[str, Any] = json.loads(result.json)
        return answer


def _job(
    model: ExplainableModel, arrays: Arrays, texts: dict[str, tuple[TokenSpans, ...]], question: Question
) -> ExplainJob:
    scale = scale_of(model.spec, question.scale, question.instead_of)
    with torch.no_grad():
        inputs = model.tensors(arrays)
        table = model.network(inputs).numpy()
        logits = model.logits(inputs).numpy() if scale and model.manifest.ending else None
    wanted = model.outputs.wanted(question.outputs, table, question.instead_of)
    return ExplainJob.of(
        model.spec,
        model.digest,
        arrays,
        table,
        wanted,
        id="file",
        scale=scale,
        logits=None if logits is None else PackedArray.pack(logits),
        texts=texts,
        method=question.method,
        samples=question.samples,
        standard_error=question.standard_error,
        seed=question.seed,
        background=question.background,
        players=question.players,
    )
