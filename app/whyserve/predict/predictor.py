"""A model as the API holds it: rows ▶ arrays ▶ ONNX Runtime ▶ named answers."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from whyserve.errors import UnsupportedMethod
from whyserve.model.arrays import first_not_finite
from whyserve.model.builds import ORIGINAL
from whyserve.model.image import Pictures
from whyserve.model.manifest import Manifest, read_checked, read_manifest
from whyserve.model.outputs import Outputs
from whyserve.model.rows import Arrays, Row, RowReader, fault_in
from whyserve.model.text import TextReader, TokenSpans, spans_of, text_readers
from whyserve.predict.batcher import Batcher
from whyserve.predict.latency import Latency, measure
from whyserve.predict.session import OnnxSession
from whyserve.predict.statistics import Statistics
from whyserve.telemetry.metrics import BATCH_ROWS

# How long a prediction may keep the event loop to itself. A hop to a thread and back costs a tenth of it.
INLINE_S = 0.001
SHORT = 64  # numbers
# Of texts, read before that: a tokenizer holds Python's lock, so a thread would not make room for others.
INLINE_LETTERS = 2_000


class Predictor:
    """One version of one model."""

    def __init__(
        self,
        manifest: Manifest,
        digest: str,
        session: OnnxSession,
        *,
        batch_s: float = 0.05,
        latency: Latency | None = None,
        texts: Mapping[str, TextReader] | None = None,
    ) -> None:
        """batch_s: what one batch may take. latency: measured here unless given. texts: of each input sent as text."""
        self.manifest, self.spec, self.digest = manifest, manifest.spec, digest
        self.outputs = Outputs(self.spec, manifest.columns)
        self.latency = latency or measure(session.run, self.spec)
        self.inline_rows = self.latency.rows_within(INLINE_S) if self.latency.seconds(1) <= INLINE_S else 0
        self._session = session
        self._rows_run = BATCH_ROWS.labels(self.spec.name)
        self.statistics = Statistics()
        self._batcher = Batcher(
            self._run, self.latency.rows_within(batch_s), self.spec.name, waited=self.statistics.waited.add
        )
        self.texts = texts or {}
        self._pictures, self._read = Pictures(self.spec), RowReader(self.spec, self.texts)

    async def read(self, instances: Sequence[Row]) -> Arrays:
        """As `arrays` does, and never keeps the event loop for long: between texts, others have their turn."""
        if not self.texts:
            return self.arrays(instances)
        parts: list[Arrays] = []
        for first, part in self._parts(instances):
            parts.append(self.arrays(part, first=first))
            await asyncio.sleep(0)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    async def spans(self, instances: Sequence[Row]) -> dict[str, tuple[TokenSpans, ...]]:
        """Where the tokens of instances that `read` has taken stand in their texts, by input that is text."""
        found: dict[str, tuple[TokenSpans, ...]] = dict.fromkeys(self.texts, ())
        for _, part in self._parts(instances) if self.texts else ():
            found = {name: (*found[name], *spans) for name, spans in spans_of(self.texts, part).items()}
            await asyncio.sleep(0)
        return found

    def _parts(self, instances: Sequence[Row]) -> Iterator[tuple[int, Sequence[Row]]]:
        """Instances in pieces that take about as long, each with the number of its first."""
        first = letters = 0
        for number, instance in enumerate(instances):
            if letters > INLINE_LETTERS:
                yield first, instances[first:number]
                first, letters = number, 0
            letters += sum(len(instance[name]) for name in self.texts)
        yield first, instances[first:]

    def arrays(self, instances: Sequence[Row], place: str = "instances", first: int = 0) -> Arrays:
        """Instances that the schema has checked → arrays. place: where they stand in the request; first: the number of
        the first of them there.

        Raises InvalidInput where a number overflows its dtype, a text cannot be read or a picture is none for this
        model; TooManyInstances.
        """
        instances = self._pictures(instances, place)
        try:
            return self._read(instances, place, first)
        except OverflowError:
            arrays = self._read.loosely(instances, place, first)
        if fault := first_not_finite(self.spec, arrays):
            row, field = fault
            raise fault_in(place, first + row, "holds a number too large for this model", field)
        return arrays

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """Of what the network returns."""
        return self._session.output_dtype

    def table(self, arrays: Arrays) -> np.ndarray:
        """(rows, columns), what the network returns. Raises InvalidInput where that is not finite."""
        return self._finite(self._run(arrays))

    def _run(self, arrays: Arrays) -> np.ndarray:
        began = perf_counter_ns()
        table = self._session.run(arrays)
        self.statistics.ran(len(table), perf_counter_ns() - began)
        self._rows_run.observe(len(table))
        return table

    async def answer(self, arrays: Arrays, place: str = "instances") -> np.ndarray:
        """As `table` does, and never keeps the event loop for long: a large model runs in a thread, in batches.

        place: where the rows stand in the request. Raises InvalidInput, and Unavailable while the service stops.
        """
        began = perf_counter_ns()
        rows = len(next(iter(arrays.values())))
        try:
            inline = rows <= self.inline_rows
            table = self._run(arrays) if inline else await self._batcher(arrays, rows)
            table = self._finite(table, place)
        except Exception:
            self.statistics.failed.add(perf_counter_ns() - began)
            raise
        self.statistics.answered(rows, perf_counter_ns() - began)
        return table

    def _finite(self, table: np.ndarray, place: str = "instances") -> np.ndarray:
        # A sum is finite where all its parts are, and for a few numbers far sooner known.
        if table.size <= SHORT and isfinite(sum(table.ravel().tolist())):
            return table
        if not np.isfinite(table).all():
            row = int((~np.isfinite(table).all(axis=1)).argmax())
            words = "the model's output is not finite; its numbers are far outside what the model knows"
            raise fault_in(place, row, words)
        return table

    def predict(self, instances: Sequence[Row]) -> list[dict[str, Any]]:
        """One answer an instance, as /predict gives it."""
        return self.outputs.predictions(self.table(self.arrays(instances)))

    async def close(self) -> None:
        """Answer all who wait, and take no more."""
        await self._batcher.close()

    def check_method(self, method: str) -> None:
        """Raises UnsupportedMethod where the certificate says that the method does not fit this model."""
        tried = self.manifest.certificate["methods"]
        if method != "auto" and not tried[method]["fits"]:
            raise UnsupportedMethod(
                f'"{method}" cannot explain {self.spec.name}: {tried[method]["why"]}', field="method"
            )


def load_predictor(folder: Path, threads: int) -> Predictor:
    """Load artifacts/<name>. Raises ModelFault, DigestMismatch, which name the file."""
    # Resolved once: the link may point elsewhere by the time the second file is read.
    folder = folder.resolve()
    manifest, digest = read_manifest(folder)
    texts = text_readers(
        manifest.spec, lambda name: read_checked(folder / ORIGINAL, name, manifest, manifest.spec.name)
    )
    return Predictor(manifest, digest, OnnxSession(folder, manifest, threads), texts=texts)
