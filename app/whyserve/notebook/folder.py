"""`whyserve.load`: a model folder in this process, with the numbers of the service."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson
import torch

from whyserve.errors import InvalidInput, ModelFault
from whyserve.explain.models.explainable import ExplainableModel, load_model
from whyserve.explain.worker.batch import compute
from whyserve.export.build import export_one
from whyserve.export.sources import read_source
from whyserve.jobs import ExplainJob, GivenBackground
from whyserve.model.manifest import Manifest, read_manifest
from whyserve.model.methods import BUDGET_MAX_MS, BUDGET_MS
from whyserve.model.rows import Arrays
from whyserve.model.spec import ONNX_FILE, ScaleName
from whyserve.model.text import check_ids, spans_of
from whyserve.notebook.boundary import short_errors
from whyserve.notebook.explanation import Explanation
from whyserve.notebook.pictures import drawn
from whyserve.notebook.predictions import Predictions
from whyserve.notebook.progress import progress_bar
from whyserve.notebook.rows import Instances, check_instances, read_instances
from whyserve.predict.decisions import read_options
from whyserve.predict.explain_options import ExplainOptions
from whyserve.predict.predictor import Predictor, load_predictor

T = TypeVar("T")


@short_errors
def load(
    folder: str | Path,
    artifacts: str | Path = "artifacts",
    *,
    budget_ms: float = BUDGET_MS,
    budget_max_ms: float = BUDGET_MAX_MS,
    memory_mb: int = 512,
) -> "Model":
    """Load a model folder, and export it first if `artifacts` has no current export of it.

    memory_mb: memory that the passes of one explanation may take. Raises ModelFault, ParityFault, UnsupportedNetwork.
    """
    folder, artifacts = Path(folder), Path(artifacts)
    if not _is_exported(folder, artifacts):
        export_one(folder, artifacts, budget_ms, budget_max_ms)
    artifact = artifacts / folder.name
    explainable = _with_worker_threads(load_model, folder.parent, artifact, memory_mb << 20)
    return Model(load_predictor(artifact, threads=1), explainable)


class Model:
    """A model folder that predicts and explains in this process. Made by `whyserve.load`."""

    def __init__(self, predictor: Predictor, explainable: ExplainableModel) -> None:
        self._predictor, self._explainable = predictor, explainable

    @property
    def manifest(self) -> Manifest:
        """What the export found out about the model: parity, certificate, files and their digests."""
        return self._predictor.manifest

    @short_errors
    def predict(self, rows: Any) -> Predictions:
        """The answers of /predict.

        rows: a list of instances as in a request, a DataFrame, an array, or a dict of arrays or DataFrames by input.
        Raises InvalidInput.
        """
        arrays, _ = self._read(rows)
        return Predictions(self._predictor.outputs.predictions(self._predictor.table(arrays)))

    @short_errors
    def explain(
        self,
        rows: Any,
        method: str = "auto",
        outputs: str | Sequence[str] | None = None,
        *,
        samples: int | None = None,
        standard_error: float | None = None,
        seed: int = 0,
        background: Any = None,
        scale: ScaleName | None = None,
        instead_of: str | None = None,
        interactions: bool = False,
        players: dict[str, Any] | None = None,
        reasons: bool = False,
        language: str | None = None,
        similar: int | None = None,
        progress: bool = True,
    ) -> Explanation:
        """The explanations that /explain gives for the same rows in one request.

        rows: as `predict` takes them. outputs: "top", the most likely label of each row, "all", a list of names, or
        "positive", the labels of multilabel that are on. Default: "top", or with reasons, their output.
        standard_error: sample until every standard error is at most this. background: the name of one of the model's,
        or rows. scale, instead_of, interactions, players, reasons, language, similar: as /explain takes them.
        progress: show a bar if it takes long.
        Raises InvalidInput, UnknownLabel, UnsupportedMethod, UnsupportedNetwork.
        """
        arrays, instances = self._read(rows)
        if isinstance(background, str) and background not in self._explainable.backgrounds:
            known = ", ".join(self._explainable.backgrounds)
            raise InvalidInput(f'unknown background "{background}"; available backgrounds: {known}')
        if background is not None and not isinstance(background, str):
            background = GivenBackground.pack(self._read(background)[0])
        how = {"samples": samples, "standard_error": standard_error, "seed": seed, "background": background,
               "outputs": outputs, "scale": scale, "instead_of": instead_of, "interactions": interactions,
               "players": players, "reasons": reasons, "language": language, "similar": similar}  # fmt: skip
        given = {name: each for name, each in how.items() if each is not None}
        job = self._job(arrays, instances, {"method": method, **given})
        with progress_bar(progress) as on_progress:
            (result,) = _with_worker_threads(compute, [job], self._explainable, on_progress)
        answer = orjson.loads(result.json)
        return drawn(self._predictor.spec, answer, instances, arrays)

    @short_errors
    def counterfactual(self, rows: Any, **options: Any) -> list[dict[str, Any]]:
        """For each row, the nearest rows that the model decides otherwise, as POST /counterfactual answers.

        rows: as `predict` takes them. options: output, threshold, count, most_changed, changes and deadline_s, as in a
        request. Raises InvalidInput.
        """
        checked = read_options(self._predictor.spec, options)
        return self._predictor.deciding.all(self._read(rows)[0], checked)

    def _job(self, arrays: Arrays, instances: Instances, options: dict[str, Any]) -> ExplainJob:
        predictor = self._predictor
        asked = ExplainOptions.of(predictor, options)
        table, logits = predictor.table(arrays), predictor.logits(arrays) if asked.scale else None
        return ExplainJob.of(
            predictor.spec,
            predictor.digest,
            arrays,
            table,
            asked.outputs(predictor, table),
            **asked.fields,
            background=asked.given["background"],
            logits=logits,
            texts=spans_of(predictor.texts, instances),
        )

    def _read(self, rows: Any) -> tuple[Arrays, Instances]:
        """The rows as arrays, and as instances of a request."""
        spec = self._predictor.spec
        instances = read_instances(spec, rows, self._predictor.texts)
        for number, row in enumerate(instances):
            missing, unknown = set(spec.keys) - set(row), set(row) - set(spec.keys)
            if missing or unknown:
                words = [f"missing: {', '.join(sorted(missing))}"] if missing else []
                words += [f"unknown: {', '.join(map(str, sorted(unknown, key=str)))}"] if unknown else []
                raise InvalidInput(f"row {number}: {'; '.join(words)}")
        try:
            arrays = self._predictor.arrays(instances)
        except (TypeError, ValueError, KeyError, struct.error) as error:
            raise InvalidInput(f"the rows are not what {spec.name} takes: {error}") from error
        check_instances(spec, arrays, instances)
        check_ids(spec.inputs, self.manifest.vocabularies, arrays)
        return arrays, instances

    def __repr__(self) -> str:
        spec, certificate = self.manifest.spec, self.manifest.certificate
        return (
            f"{spec.name}, version {spec.version}, from {spec.framework}: {', '.join(spec.output_names[:12])};"
            f" explained by {certificate['default']}, {certificate['reason']}"
        )


def _with_worker_threads(function: Callable[..., T], *arguments: Any) -> T:
    """Call with the number of threads that a worker has by default: with others, sums differ in their last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(threads)


def _is_exported(folder: Path, artifacts: Path) -> bool:
    """Whether the artifact was made of the files of the folder as they are now."""
    source = read_source(folder)
    try:
        manifest, _ = read_manifest(artifacts / folder.name)
    except ModelFault:
        return False
    # model.onnx is a file of the folder too if the model is an ONNX model.
    return manifest.files == {ONNX_FILE: manifest.files[ONNX_FILE], **source.digests}
