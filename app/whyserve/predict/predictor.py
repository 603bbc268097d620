"""A served model: rows → arrays → ONNX Runtime → named outputs."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from math import isfinite
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.model.arrays import check_arrays, first_not_finite, read_npz
from whyserve.model.bounds import Bounds
from whyserve.model.builds import ORIGINAL
from whyserve.model.image import Pictures
from whyserve.model.manifest import LOGITS, Manifest, read_checked, read_manifest
from whyserve.model.missing import Gaps
from whyserve.model.outputs import Outputs
from whyserve.model.players import Partition
from whyserve.model.reasons import ReasonsSpec
from whyserve.model.rows import Arrays, Row, RowReader, fault_in
from whyserve.model.text import TextReader, TokenSpans, spans_of, text_readers
from whyserve.onnx.session import CPU_PROVIDER
from whyserve.predict.batcher import Batcher
from whyserve.predict.counterfactuals import Search
from whyserve.predict.decisions import Deciding
from whyserve.predict.latency import Latency, measure
from whyserve.predict.plain_rows import PlainRows
from whyserve.predict.session import OnnxSession
from whyserve.predict.statistics import Statistics
from whyserve.telemetry.metrics import BATCH_ROWS

NOT_FINITE = "the model's output is not finite; send numbers closer to the model's training data"
# A prediction may block the event loop this long. Running in a thread costs about a tenth of it.
INLINE_S = 0.001
SEARCH_PASS_S = 0.02  # of one pass of a search through the network
SMALL_TABLE = 64  # numbers
# Characters that are tokenized before the event loop runs other requests. A tokenizer holds Python's lock, so a thread
# would not help.
INLINE_CHARACTERS = 2_000
# One thread for the image files of all requests: a second one would hold twice the pixels in memory.
DECODER = ThreadPoolExecutor(1, thread_name_prefix="images")


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
        read: Callable[[str], bytes] | None = None,
    ) -> None:
        """batch_s: time limit of one batch. latency: measured by default. texts: by input that is sent as text.

        read: reads a file of the model folder and checks its digest; for `deciding`.
        """
        self.manifest, self.spec, self.digest = manifest, manifest.spec, digest
        self.outputs = Outputs(self.spec, manifest.columns)
        self._partition = Partition(self.spec, manifest.players)
        self.latency = latency or measure(session.run, self.spec)
        is_fast = self.latency.seconds(1) <= INLINE_S and not session.may_block
        self.inline_rows = self.latency.rows_within(INLINE_S) if is_fast else 0
        self._session, self._read_file = session, read
        self._rows_run = BATCH_ROWS.labels(self.spec.name)
        self.statistics = Statistics()
        self._batcher = Batcher(
            self._run, self.latency.rows_within(batch_s), self.spec.name, on_wait=self.statistics.waited.add
        )
        self._gaps = Gaps(self.spec, manifest.fills) if manifest.fills else None
        self.texts = texts or {}
        self._pictures, self._read = Pictures(self.spec) or None, RowReader(self.spec, self.texts)
        # Otherwise, other requests run while `read` reads.
        self.reads_at_once = not (self.texts or self._pictures)
        self._plain = PlainRows(self.spec) if PlainRows.is_plain(self.spec) else None

    def read_plain(self, request: dict[str, Any]) -> Arrays | None:
        """Like `read`, for a request of `parse_plain`. None if the schema has to read it."""
        return self._plain.read(request) if self._plain else None

    async def read(self, instances: Sequence[Row], place: str = "instances") -> Arrays:
        """Like `arrays`, but other requests run between the texts, and while image files are decoded."""
        if self._pictures and self._pictures.found(instances):
            # Pillow releases Python's lock while it decodes.
            return await asyncio.get_running_loop().run_in_executor(DECODER, self.arrays, instances, place)
        if not self.texts:
            return self.arrays(instances, place)
        parts: list[Arrays] = []
        for first, part in self._parts(instances):
            parts.append(self.arrays(part, place, first))
            await asyncio.sleep(0)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    async def spans(self, instances: Sequence[Row]) -> dict[str, tuple[TokenSpans, ...]]:
        """The position of each token in its text, by text input. instances: valid ones, as `read` has accepted them."""
        found: dict[str, tuple[TokenSpans, ...]] = dict.fromkeys(self.texts, ())
        for _, part in self._parts(instances) if self.texts else ():
            found = {name: (*found[name], *spans) for name, spans in spans_of(self.texts, part).items()}
            await asyncio.sleep(0)
        return found

    def _parts(self, instances: Sequence[Row]) -> Iterator[tuple[int, Sequence[Row]]]:
        """Instances in parts with about INLINE_CHARACTERS each, and the number of each part's first instance."""
        first = characters = 0
        for number, instance in enumerate(instances):
            if characters > INLINE_CHARACTERS:
                yield first, instances[first:number]
                first, characters = number, 0
            characters += sum(len(instance[name]) for name in self.texts)
        yield first, instances[first:]

    def arrays(self, instances: Sequence[Row], place: str = "instances", first: int = 0) -> Arrays:
        """Instances that the schema accepts → arrays by input, (rows, *shape).

        place: the field of the request that holds them. first: the number of the first one there.
        Raises InvalidInput if a number overflows its dtype, or a text or picture does not fit the model, and
        TooManyInstances.
        """
        if self._pictures:
            instances = self._pictures(instances, place)
        try:
            return self._read(instances, place, first)
        except OverflowError:
            arrays = self._read.loosely(instances, place, first)
        if fault := first_not_finite(self.spec, arrays):
            row, field = fault
            raise fault_in(place, first + row, "holds a number that is too large for this model", field)
        return arrays

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """The dtype of the network's output."""
        return self._session.output_dtype

    def table(self, arrays: Arrays) -> np.ndarray:
        """The network's output, (rows, columns). Raises InvalidInput if it is not finite."""
        return self._finite(self._run(arrays))

    def _run(self, arrays: Arrays) -> np.ndarray:
        began = perf_counter_ns()
        table = self._session.run(self.filled(arrays))
        self.statistics.ran(len(table), perf_counter_ns() - began)
        self._rows_run.observe(len(table))
        return table

    async def answer(self, arrays: Arrays, place: str = "instances") -> np.ndarray:
        """Like `table`, but predictions that take long run in a thread, in batches.

        place: the field of the request that holds the rows.
        Raises InvalidInput, and Unavailable if the service shuts down.
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

    def logits(self, arrays: Arrays) -> np.ndarray | None:
        """The logits, (rows, columns); None if the network does not end in softmax or sigmoid.

        Raises InvalidInput if they are not finite.
        """
        if self.manifest.ending is None:
            return None
        return self._finite(self._session.run(self.filled(arrays), LOGITS))

    def filled(self, arrays: Arrays) -> Arrays:
        """The rows as the network gets them: missing values with a fill are replaced."""
        return self._gaps.filled(arrays) if self._gaps else arrays

    def _finite(self, table: np.ndarray, place: str = "instances") -> np.ndarray:
        # If the sum is finite, all its terms are. For few numbers, Python's sum is much faster than numpy.
        if table.size <= SMALL_TABLE and isfinite(sum(table.ravel().tolist())):
            return table
        if not np.isfinite(table).all():
            row = int((~np.isfinite(table).all(axis=1)).argmax())
            raise fault_in(place, row, NOT_FINITE)
        return table

    @cached_property
    def bounds(self) -> Bounds:
        """The range of each numeric feature."""
        return Bounds(self.spec, self.manifest.ranges)

    @cached_property
    def deciding(self) -> Deciding:
        """The model for searches of counterfactuals, with the default background. Every input must be tabular.

        Raises ModelFault.
        """
        assert self._read_file is not None, "a predictor that was loaded from a folder"
        background = check_arrays(self.spec, read_npz(self._read_file(self.spec.explain.background)))
        return Deciding(
            Search(self.spec, self.filled(background), self.manifest.vocabularies),
            self.outputs,
            # Not `table`: rows of a search are no predictions, and may have outputs that are not finite.
            self._session.run,
            lambda instance: self.table(self.arrays([instance])),
            self.filled,
            self.latency.rows_within(SEARCH_PASS_S),
        )

    async def close(self) -> None:
        """Answer all waiting requests, and refuse new ones."""
        await self._batcher.close()

    def partition_of(self, wanted: Mapping[str, Any] | None) -> Partition:
        """The players of a request; None means the model's. Raises InvalidInput, which names the place."""
        return self._partition if wanted is None else Partition(self.spec, wanted)

    @property
    def accelerators(self) -> list[str]:
        """The execution providers of ONNX Runtime that this model uses besides that of the CPU."""
        return [name for name in self._session.providers if name != CPU_PROVIDER]

    @property
    def reasons(self) -> ReasonsSpec:
        """[reasons] of model.toml. Raises InvalidInput without it."""
        if self.spec.reasons is None:
            raise InvalidInput(
                f'"reasons" cannot be given: {self.spec.name} has no [reasons] in its model.toml', field="reasons"
            )
        return self.spec.reasons


def load_predictor(folder: Path, threads: int) -> Predictor:
    """Load artifacts/<name>. Raises ModelFault and DigestMismatch, which name the file."""
    # Resolved once: an export may change the link while the files are read.
    folder = folder.resolve()
    manifest, digest = read_manifest(folder)

    def read(name: str) -> bytes:
        return read_checked(folder / ORIGINAL, name, manifest, manifest.spec.name)

    texts = text_readers(manifest.spec, read)
    return Predictor(manifest, digest, OnnxSession(folder, manifest, threads), texts=texts, read=read)
