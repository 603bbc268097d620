"""`whyserve explain --engine ray`: explain files of rows on a Ray cluster.

The rows of each Parquet file are divided into partitions. The answers of a partition are one file, which is also its
checkpoint: a run that is repeated explains only partitions without a file.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from whyserve.batch.arrow import Loader, loaded
from whyserve.errors import ConfigurationError, WhyserveError
from whyserve.explain.models.explainable import ExplainableModel
from whyserve.remote import file_system, is_address, open_bytes
from whyserve.tables.answers import open_answers
from whyserve.tables.explain import OnProgress, Question, TableExplainer, Totals
from whyserve.tables.files import PARQUET, has_ending, name_of, open_rows, written
from whyserve.tables.rows import Reading

# Readers of folders of Parquet files ignore names that begin with _.
PLAN_FILE = "_whyserve.json"


@dataclass(frozen=True, slots=True)
class Partition:
    """Rows of one file. name: of the file of their answers. skip: the number of rows before them in the file.
    first: the number of the first row in all files, from 1.
    """

    name: str
    place: str
    skip: int
    rows: int
    first: int


@dataclass(frozen=True, slots=True)
class Work:
    """What every process of the cluster gets. folder: of the answers."""

    loader: Loader
    question: Question
    reading: Reading
    folder: str

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the answers, as JSON."""
        background = self.question.background
        given = background if isinstance(background, str) else background.sha256
        return {"question": asdict(replace(self.question, background=given)), "reading": asdict(self.reading)}


def explain_on_ray(
    work: Work,
    model: ExplainableModel,
    places: Sequence[str],
    *,
    partition_rows: int,
    force: bool,
    on_progress: OnProgress,
) -> Totals:
    """Explain each row of Parquet files. The files of answers together have the lines that `explain_files` writes.

    Every machine of the cluster must reach the files, the folder of the answers and the model.
    force: replace the answers of another run.
    Raises InvalidInput, UnknownLabel, UnsupportedMethod, ConfigurationError.
    """
    work = replace(work, folder=work.folder.rstrip("/"))
    explainer = TableExplainer(model, work.question, work.reading)
    partitions = _partitions(explainer, places, work.reading, partition_rows)
    files = {place: _state_of(place) for place in places}
    facts = {**work.facts, "model": model.digest, "files": files, "partitions": list(map(asdict, partitions))}
    done = _prepare(work.folder, facts, force=force)
    totals, count = Totals(), sum(each.rows for each in partitions)
    for each in partitions:
        if each.name in done:
            totals.merge(Totals(each.rows, _refused(work.folder, each.name)))
    on_progress(totals.rows, count)
    for found in _run(work, [each for each in partitions if each.name not in done]):
        if found["error"]:
            raise ConfigurationError(found["error"])
        totals.merge(Totals(found["rows"], found["refused"], found["faults"].splitlines()))
        on_progress(totals.rows, count)
    return totals


def _state_of(place: str) -> list[Any]:
    """What differs if a file is written again: its size, and its digest in a store or the time of its last change."""
    system, path = file_system(place)
    facts = system.info(path)
    return [facts["size"], facts.get("ETag") or facts.get("blob_id") or facts.get("mtime")]


def _partitions(
    explainer: TableExplainer, places: Sequence[str], reading: Reading, partition_rows: int
) -> list[Partition]:
    """Partitions end where a chunk of the local command ends, so that the same rows are explained together."""
    if partition_rows < 1:
        raise ConfigurationError("--partition-rows must be at least 1")
    size = max(1, partition_rows // explainer.chunk_rows) * explainer.chunk_rows
    if wrong := [place for place in places if not has_ending(place, PARQUET)]:
        raise ConfigurationError(f"{wrong[0]}: --engine ray reads Parquet files only")
    found: list[Partition] = []
    first = 1
    for file in [open_rows(place, reading.dialect) for place in places]:
        explainer.reader(file.names, f"{file.name}: ")
        place = file.place if is_address(file.place) else str(Path(file.place).absolute())
        for skip in range(0, file.count, size):
            name = f"part-{len(found):06d}.parquet"
            found.append(Partition(name, place, skip, min(size, file.count - skip), first + skip))
        first += file.count
    return found


class _Actor:
    """A process of the cluster that explains partitions."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._explainer = TableExplainer(loaded(work.loader), work.question, work.reading)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            totals = self._explain(Partition(**row))
        except WhyserveError as error:  # would be the same at every attempt
            return {"rows": 0, "refused": 0, "faults": "", "error": error.message}
        return {"rows": totals.rows, "refused": totals.refused, "faults": "\n".join(totals.faults), "error": ""}

    def _explain(self, partition: Partition) -> Totals:
        explainer, totals = self._explainer, Totals()
        file = open_rows(partition.place, self._work.reading.dialect)
        reader = explainer.reader(file.names, f"{file.name}: ")
        with open_answers(f"{self._work.folder}/{partition.name}", explainer.schema) as write:
            for chunk in file.chunks(min(explainer.chunk_rows, partition.rows), partition.skip):
                found = explainer.explain(reader, chunk, partition.first + totals.rows)
                write(found.lines, found.facts)
                totals.add(len(chunk), found.faults, file.name)
                if totals.rows >= partition.rows:
                    break
        return totals


def _run(work: Work, partitions: Sequence[Partition]) -> Iterator[dict[str, Any]]:
    """What the actors say of each partition, in the order in which they end. Ray starts lost ones again."""
    if not partitions:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: PLC0415
        import ray.data  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"--engine ray needs {error.name}, which is not installed: pip install 'whyserve[worker,ray]'"
        ) from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    of = "GPU" if work.loader.device.startswith("cuda") else "CPU"
    most = max(1, min(len(partitions), int(ray.cluster_resources().get(of, 1))))
    rows = ray.data.from_items(list(map(asdict, partitions)), override_num_blocks=len(partitions))
    # One partition is explained and one waits; with fewer tasks, Ray starts no further actor.
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=most, initial_size=most, max_tasks_in_flight_per_actor=2)
    gpus = 1 if of == "GPU" else None
    yield from rows.map(_Actor, fn_constructor_args=(work,), num_cpus=1, num_gpus=gpus, compute=pool).iter_rows()


def _prepare(folder: str, plan: dict[str, Any], *, force: bool) -> set[str]:
    """The names of the files of answers that an earlier run of the same plan wrote. Makes the folder.

    Raises ConfigurationError for files of another plan, unless `force` replaces them.
    """
    text = json.dumps(plan, indent=1)
    try:
        system, path = file_system(folder)
        if not is_address(folder):  # a store has no folders, and its package would make a missing bucket
            system.makedirs(path, exist_ok=True)
        names = {name_of(each) for each in system.find(path, maxdepth=1)}
        same = system.cat_file(f"{path}/{PLAN_FILE}").decode() == text if PLAN_FILE in names else not names
        if not same and not force:
            raise ConfigurationError(
                f"{folder}: has files of another run; name another folder, or add --force to replace its answers"
            )
        parts = {name for name in names if name.startswith("part-") and has_ending(name, PARQUET)}
        if not same:
            for name in sorted(parts):
                system.rm_file(f"{path}/{name}")
            parts = set()
        with written(f"{folder}/{PLAN_FILE}") as file:
            file.write_text(text)
    except OSError as error:
        raise ConfigurationError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return parts


def _refused(folder: str, name: str) -> int:
    """The number of rows with an error in a file of answers."""
    with open_bytes(f"{folder}/{name}") as file:
        metadata = pa.parquet.read_metadata(file).metadata
    return int(json.loads(metadata[b"whyserve"])["refused"])
