"""Explain Arrow tables: the function that Ray Data's `map_batches` and Spark's `mapInArrow` take."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from whyserve.explain.allocator import keep_freed_memory
from whyserve.explain.game.device import open_device
from whyserve.explain.models.explainable import ExplainableModel, load_model
from whyserve.tables.explain import Question, TableExplainer
from whyserve.tables.rows import Reading

# Models that stay loaded in a process of an engine, which gets a new copy of the function for each task.
KEPT_MODELS = 4


@dataclass(frozen=True, slots=True)
class Loader:
    """Where an exported model is: paths that every machine has. models: the folder of models; artifact: of the export.

    memory_mb: memory for the passes of one explanation, in MiB. device: of the network, as in WHYSERVE_DEVICE.
    """

    models: str
    artifact: str
    memory_mb: int = 512
    device: str = "cpu"


@lru_cache(KEPT_MODELS)
def loaded(loader: Loader) -> ExplainableModel:
    """Raises ModelFault, DigestMismatch, and ConfigurationError if the device is not available."""
    os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras reads this variable at its import.
    torch.set_num_threads(1)  # An engine runs one process per core.
    keep_freed_memory()
    device = open_device(loader.device)
    return load_model(Path(loader.models), Path(loader.artifact), loader.memory_mb << 20, device)


class Explainer:
    """Explains Arrow tables with one model. It can be pickled; the model is loaded at the first use in a process."""

    def __init__(
        self,
        model_folder: str | Path,
        *,
        outputs: str | Sequence[str] = "top",
        drop: Sequence[str] = (),
        id: str | None = None,
        memory_mb: int = 512,
        device: str = "cpu",
        **question: Any,
    ) -> None:
        """model_folder: an exported model, such as artifacts/penguins, as a path that every machine has.

        drop: columns to ignore. id: the column that names each row. memory_mb: memory for the passes of one
        explanation, in MiB. device: of the network, as in WHYSERVE_DEVICE; give each actor a GPU with `num_gpus`.
        question: the other fields of Question, as of a request to /explain.
        """
        folder = Path(model_folder).absolute()
        self._loader = Loader(str(folder.parent), str(folder), memory_mb, device)
        self._question, self._reading = Question(outputs=outputs, **question), Reading(drop, id)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_explainer"}

    @cached_property
    def _explainer(self) -> TableExplainer:
        return TableExplainer(loaded(self._loader), self._question, self._reading)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the answers."""
        return self._explainer.schema

    def __call__(self, batch: Any) -> Any:
        """The lines that `whyserve explain` writes for the same rows: one for each row and output.

        batch: a table, which gives a table; or batches, which give batches. Rows are numbered from 1 in what one call
        gets. A row that cannot be explained has only an `error`. Raises InvalidInput if a column is missing or unknown.
        """
        if isinstance(batch, pa.Table):
            return pa.Table.from_batches(self._batches(batch.to_batches()), self.schema)
        return self._batches(batch)

    def _batches(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        explainer, first = self._explainer, 1
        for batch in batches:
            reader = explainer.reader(batch.schema.names)
            for start in range(0, len(batch), explainer.chunk_rows):
                chunk = batch.slice(start, explainer.chunk_rows)
                yield explainer.explain(reader, chunk, first).lines
                first += len(chunk)


explainer = Explainer  # a function of Arrow tables, for callers that need no class
