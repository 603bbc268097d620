"""`whyserve export`: every stale model folder becomes an artifact, or says why not."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whyserve.errors import ModelFault, WhyserveError
from whyserve.export.artifacts import is_current, prune, set_aside_unreadable, tools, why_unreadable, write
from whyserve.export.parity import check_parity
from whyserve.export.rows import TrialRows, trial_rows
from whyserve.export.sources import Source, read_source
from whyserve.export.stages.stage import (
    CERTIFICATE_FILE,
    EXAMPLES_FILE,
    FAULT_FILE,
    NETWORK_OUTPUT_FILE,
    ORIGINAL_FILE,
    ROWS_FILE,
    VOCABULARIES_FILE,
    Task,
    run_stage,
)
from whyserve.model.manifest import FORMAT, ONNX_FILE, Manifest, sha256
from whyserve.model.spec import SPEC_FILE, model_folders

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    source: Source
    task: Task
    rows: TrialRows


def export_all(models: Path, artifacts: Path, budget_ms: float, say: Say) -> None:
    """Export what is stale under `models`, a line a model. Raises ModelFault, of all faults, at the end."""
    settings = {"budget_ms": budget_ms}
    faults: list[str] = []
    stale: list[Source] = []
    folders = model_folders(models, SPEC_FILE)
    for folder in folders:
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
        stale.append(source)
    if stale:
        faults += _export(stale, artifacts, settings, say)
    for folder in folders:
        for line in set_aside_unreadable(artifacts, folder.name):
            say(line)
    for name in prune(artifacts, {folder.name for folder in folders}):
        say(f"{name}: its folder is gone; artifact removed")
    if faults:
        raise ModelFault("\n".join(faults))


def export_one(folder: Path, artifacts: Path, budget_ms: float) -> Manifest:
    """Export one model folder, stale or not, and leave all others alone. Raises what is wrong with it."""
    settings = {"budget_ms": budget_ms}
    source = read_source(folder)
    artifacts.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=artifacts, prefix=".work-") as scratch:
        job = _prepare(source, Path(scratch, source.spec.name), settings)
        if source.spec.framework == "keras":
            run_stage("whyserve.export.stages.keras", [job.task], "tensorflow")
        run_stage("whyserve.export.stages.torch", [job.task], "torch")
        return _finish(job, artifacts, settings)


def _export(sources: Sequence[Source], artifacts: Path, settings: dict[str, float], say: Say) -> list[str]:
    artifacts.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=artifacts, prefix=".work-") as scratch:
        jobs = [_prepare(source, Path(scratch, source.spec.name), settings) for source in sources]
        say(f"exporting {', '.join(source.spec.name for source in sources)} …")
        keras = [job.task for job in jobs if job.source.spec.framework == "keras"]
        if keras:
            run_stage("whyserve.export.stages.keras", keras, "tensorflow")
        run_stage("whyserve.export.stages.torch", [job.task for job in jobs], "torch")
        faults = []
        for job in jobs:
            try:
                manifest = _finish(job, artifacts, settings)
            except WhyserveError as fault:
                faults.append(fault.message)
                continue
            say(_line(manifest, time.monotonic() - began))
        return faults


def _prepare(source: Source, work: Path, settings: dict[str, float]) -> Job:
    work.mkdir()
    # The background of a model of texts may be no text at all, and so no row to try anything on.
    examples = source.examples() if source.texts else {}
    vocabularies = {name: reader.vocabulary for name, reader in source.texts.items()}
    rows = trial_rows(source.spec, source.background, examples, vocabularies)
    np.savez(work / ROWS_FILE, **rows.arrays)  # type: ignore[arg-type]  # numpy's stub takes the first for a flag
    if examples:
        np.savez(work / EXAMPLES_FILE, **examples)  # type: ignore[arg-type]
    return Job(source, Task(str(source.folder.resolve()), str(work), source.digests, settings["budget_ms"]), rows)


def _finish(job: Job, artifacts: Path, settings: dict[str, float]) -> Manifest:
    spec, work = job.source.spec, Path(job.task.work)
    fault = (work / FAULT_FILE).read_text() if (work / FAULT_FILE).exists() else None
    if fault and not all((work / name).exists() for name in (ONNX_FILE, ORIGINAL_FILE, NETWORK_OUTPUT_FILE)):
        raise ModelFault(fault)
    # A row on which the two differ says more than why the network could not be certified; so it comes first.
    parity, columns = check_parity(spec, work, job.rows)
    if fault:
        raise ModelFault(fault)
    onnx = (work / ONNX_FILE).read_bytes()
    manifest = Manifest(
        format=FORMAT,
        spec=spec,
        files={**job.source.digests, ONNX_FILE: sha256(onnx)},
        columns=columns,
        ranges=_ranges(job.source),
        vocabularies=_vocabularies(job),
        background_rows=len(next(iter(job.source.background.values()))),
        backgrounds={name: len(next(iter(each.values()))) for name, each in job.source.backgrounds.items()},
        example=job.source.example,
        parity=parity,
        certificate=json.loads((work / CERTIFICATE_FILE).read_text()),
        built_with=tools(spec),
        settings=settings,
    )
    write(artifacts, manifest, onnx, job.source)
    return manifest


def _vocabularies(job: Job) -> dict[str, int]:
    """What the network takes, and of a text what its tokenizer may give."""
    found: dict[str, int] = json.loads((Path(job.task.work) / VOCABULARIES_FILE).read_text())
    return found | {name: reader.vocabulary for name, reader in job.source.texts.items()}


def _ranges(source: Source) -> dict[str, tuple[float, float]]:
    """The least and greatest of each numeric feature over the background."""
    return {
        feature.name: (float(array[:, column].min()), float(array[:, column].max()))
        for item in source.spec.inputs
        for array in [source.background[item.name]]
        for column, feature in enumerate(item.features)
        if not feature.categories
    }


def _line(manifest: Manifest, seconds: float) -> str:
    parity = manifest.parity
    twin = "" if parity.twin_largest is None else f", on torch {parity.twin_largest:.0e}"
    return (
        f"{manifest.spec.name}: exported from {manifest.spec.framework} in {seconds:.0f} s; {parity.rows} rows"
        f" within {parity.largest:.0e} of the original{twin}; explained by {manifest.certificate['default']},"
        f" {manifest.certificate['reason']}"
    )
