"""`whyserve export`: each changed model folder becomes an artifact, or a message says what is wrong with it."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from whyserve.errors import ConfigurationError, ModelFault, RecordUnavailable, WhyserveError
from whyserve.export.artifacts import (
    is_current,
    prune,
    recorded_only,
    recorded_size,
    set_aside_unreadable,
    tools,
    why_unreadable,
    work_folder,
    write,
)
from whyserve.export.parity import check_parity, parity_text
from whyserve.export.rows import TrialRows, trial_rows
from whyserve.export.sources import Source, read_source
from whyserve.export.stages.stage import Rows, Table, Task, run_stage
from whyserve.model.builds import RECORDED, build_folder, model_folders
from whyserve.model.choice import chosen_players, warnings
from whyserve.model.manifest import FORMAT, Manifest, sha256
from whyserve.model.methods import BUDGET_MAX_MS
from whyserve.model.missing import Gaps
from whyserve.model.rows import row_count
from whyserve.model.spec import ONNX_FILE, SPEC_FILE

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """The export of one model. rows: the rows for the parity check."""

    source: Source
    task: Task
    rows: TrialRows


def export_all(
    models: Path,
    artifacts: Path,
    budget_ms: float,
    say: Say,
    budget_max_ms: float = BUDGET_MAX_MS,
    *,
    record: str | None = None,
    only: str | None = None,
) -> None:
    """Export each changed folder under `models`. say: called with one line per model. record: the decision record.

    only: the name of the one model to export. budget_ms: the time in ms per row that the default explanation method may
    take. budget_max_ms: the time that it may take if no faster method is reliable.
    Raises ModelFault at the end, with one line per faulty model; the other models are exported.
    """
    settings = {"budget_ms": budget_ms, "budget_max_ms": budget_max_ms}
    faults: list[str] = []
    changed: list[Source] = []
    folders = model_folders(models, SPEC_FILE)
    wanted = [folder for folder in folders if only in (None, folder.name)]
    if not wanted:
        raise ModelFault(f"{models}: no model folder {only}")
    for folder in wanted:
        try:
            source = read_source(folder)
        except ModelFault as fault:
            faults.append(fault.message)
            continue
        if is_current(artifacts, source, settings):
            say(f"{source.spec.name}: unchanged")
            continue
        if why := why_unreadable(artifacts / source.spec.name):
            say(f"{why}; exporting {source.spec.name} again")
        changed.append(source)
    with recorded_only(artifacts, partial(_named, record, artifacts, say) if record else None):
        faults += _export(changed, artifacts, settings, say) if changed else []
        for folder in folders:
            for line in set_aside_unreadable(artifacts, folder.name):
                say(line)
        for name in prune(artifacts, {folder.name for folder in folders}):
            say(f"{name}: artifact removed, because the model folder no longer exists")
    count, size = recorded_size(artifacts)
    if count:
        say(f"{count} older builds are kept for the decision record ({size / (1 << 20):.1f} MiB)")
    if faults:
        raise ModelFault("\n".join(faults))


def _named(record: str, artifacts: Path, say: Say) -> Collection[str]:
    """The folders of the builds that the decision record names; all, if it cannot be read."""
    try:
        from whyserve.record.store import Store  # noqa: PLC0415  # few exports need SQLAlchemy

        with closing(Store(record, create=False)) as store:
            return {build_folder(model, digest) for digest, model in store.builds().items()}
    except ImportError:
        words = 'WHYSERVE_RECORD: needs the extra "record"'
    except (RecordUnavailable, ConfigurationError) as error:
        words = error.message
    say(f"{words}; all older builds are kept")
    return {folder.name for folder in (artifacts / RECORDED).glob("*")}


def export_one(folder: Path, artifacts: Path, budget_ms: float, budget_max_ms: float = BUDGET_MAX_MS) -> Manifest:
    """Export one model folder, changed or not, and no other. Raises WhyserveError if it has a fault."""
    settings = {"budget_ms": budget_ms, "budget_max_ms": budget_max_ms}
    with recorded_only(artifacts), _staged([read_source(folder)], artifacts, settings) as (job,):
        return _finish(job, artifacts, settings)


def _export(sources: Sequence[Source], artifacts: Path, settings: dict[str, float], say: Say) -> list[str]:
    """Export models together; returns the faults."""
    began = time.monotonic()
    faults = []
    say(f"exporting {', '.join(source.spec.name for source in sources)} …")
    with _staged(sources, artifacts, settings) as jobs:
        for job in jobs:
            try:
                manifest = _finish(job, artifacts, settings)
            except WhyserveError as fault:
                faults.append(fault.message)
                continue
            say(_summary(manifest, time.monotonic() - began))
    return faults


@contextmanager
def _staged(sources: Sequence[Source], artifacts: Path, settings: dict[str, float]) -> Iterator[list[Job]]:
    """The jobs after all stages. Their work folders exist only in this context."""
    artifacts.mkdir(parents=True, exist_ok=True)
    with work_folder(artifacts) as scratch:
        jobs = [_prepare(source, scratch / source.spec.name, settings) for source in sources]
        if keras := [job.task for job in jobs if job.source.spec.framework == "keras"]:
            run_stage("whyserve.export.stages.keras", keras, "tensorflow")
        run_stage("whyserve.export.stages.torch", [job.task for job in jobs], "torch")
        yield jobs


def _prepare(source: Source, work: Path, settings: dict[str, float]) -> Job:
    work.mkdir()
    # The background of a model that takes text may hold the empty text only, which is no real row to try.
    gaps = Gaps(source.spec, source.fills)
    examples = gaps.filled(source.examples()) if source.texts else {}
    vocabularies = {name: reader.vocabulary for name, reader in source.texts.items()}
    rows = trial_rows(source.spec, source.background, examples, vocabularies, gaps)
    task = Task(str(source.folder.resolve()), str(work), source.digests, settings, rows.real, source.fills)
    task.save_rows(rows.arrays)
    if examples:
        task.save_rows(examples, Rows.EXAMPLES)
    return Job(source, task, rows)


def _finish(job: Job, artifacts: Path, settings: dict[str, float]) -> Manifest:
    """Check the results of the stages and write the artifact. Raises WhyserveError."""
    spec, task = job.source.spec, job.task
    fault, onnx = task.fault(), task.path(ONNX_FILE)
    if fault and not all(task.path(name).exists() for name in (ONNX_FILE, Table.ORIGINAL, Table.NETWORK)):
        raise ModelFault(fault)
    # Parity first: a row with different outputs says more than the reason why the network could not be certified.
    rows = job.rows.only(task.table(Table.TAKEN)) if task.path(Table.TAKEN).exists() else job.rows
    parity, columns = check_parity(spec, task, rows)
    if fault:
        raise ModelFault(fault)
    facts = task.facts()
    vocabularies = facts["vocabularies"]
    for name, reader in job.source.texts.items():
        if reader.vocabulary > vocabularies.get(name, reader.vocabulary):
            raise ModelFault(
                f'{spec.name}: the tokenizer of input "{name}" gives ids up to {reader.vocabulary - 1}, but the network'
                f" takes 0 to {vocabularies[name] - 1}; give the tokenizer that the network was trained with"
            )
        vocabularies[name] = reader.vocabulary
    manifest = Manifest(
        format=FORMAT,
        spec=spec,
        files={**job.source.digests, ONNX_FILE: sha256(onnx.read_bytes())},
        columns=columns,
        ending=None if parity.logits_largest is None else facts["ending"],
        ranges=job.source.ranges(),
        fills=job.source.fills,
        vocabularies=vocabularies,
        background_rows=row_count(job.source.background),
        backgrounds={name: row_count(each) for name, each in job.source.backgrounds.items()},
        example=job.source.example,
        reasons=facts["reasons"],
        parity=parity,
        certificate=facts["certificate"],
        built_with=tools(spec),
        settings=settings,
    )
    write(artifacts, manifest, onnx.read_bytes(), job.source)
    return manifest


def _summary(manifest: Manifest, seconds: float) -> str:
    spec, certificate = manifest.spec, manifest.certificate
    return (
        f"{spec.name}: exported from {spec.framework} in {seconds:.0f} s; {parity_text(manifest.parity)};"
        f" the default explanation method is {certificate['default']} ({certificate['reason']})"
        + "".join(f"; the players are {players}" for players in chosen_players(manifest))
        + "".join(f"; {warning}" for warning in warnings(manifest))
    )
