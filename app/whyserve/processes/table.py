"""`whyserve explain`: explain a file of rows in this process, without a service."""

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from whyserve.errors import ConfigurationError
from whyserve.explain.allocator import keep_freed_memory
from whyserve.explain.models.explainable import ExplainableModel, load_model
from whyserve.jobs import GivenBackground
from whyserve.model.manifest import MANIFEST_FILE
from whyserve.model.spec import model_folders
from whyserve.settings import TableSettings
from whyserve.tables.explain import Question, explain_file, read_given

# Rows whose errors are printed; the output file holds all errors.
SHOWN = 10


def main(
    settings: TableSettings,
    *,
    model: str,
    rows: Path,
    output: Path,
    method: str,
    outputs: str,
    samples: int | None,
    seed: int,
    background: str,
    drop: Sequence[str],
) -> None:
    """Explain all rows and print a summary line. A row that cannot be explained is printed, not raised.

    Raises WhyserveError for all other errors.
    """
    logging.basicConfig(level=settings.log_level.upper())
    torch.set_num_threads(settings.worker_threads)
    keep_freed_memory()
    if (samples is not None and samples < 1) or seed < 0:
        raise ConfigurationError("--samples must be at least 1, and --seed at least 0")
    artifact = next((f for f in model_folders(settings.artifacts, MANIFEST_FILE) if f.name == model), None)
    if artifact is None:
        raise ConfigurationError(f"no exported model {model} in {settings.artifacts}; run `whyserve export`")
    loaded = load_model(settings.models, artifact, settings.memory_mb << 20)
    chosen = background if background in loaded.backgrounds else _given(background, loaded, drop)
    asked = outputs if outputs in loaded.spec.output_keywords else outputs.split(",")
    question = Question(method, asked, samples, seed, chosen)
    began = time.monotonic()
    with tqdm(unit=" rows", file=sys.stderr, disable=None) as bar:

        def say(done: float, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        explained = explain_file(loaded, rows, output, question, drop=drop, on_progress=say)
    for fault in list(explained.faults.values())[:SHOWN]:
        print(f"{rows.name}: {fault}", file=sys.stderr)  # noqa: T201
    if len(explained.faults) > SHOWN:
        print(f"{rows.name}: and {len(explained.faults) - SHOWN} more rows", file=sys.stderr)  # noqa: T201
    good = explained.rows - len(explained.faults)
    print(f"{output}: {good} of {explained.rows} rows explained in {time.monotonic() - began:.1f} s")  # noqa: T201


def _given(background: str, model: ExplainableModel, drop: Sequence[str]) -> GivenBackground:
    path = Path(background)
    if path.suffix.lower() not in (".csv", ".parquet"):
        names = ", ".join(model.backgrounds)
        raise ConfigurationError(
            f"--background: unknown background {background}; {model.spec.name} has {names}; or name a .csv or .parquet "
            "file of rows"
        )
    return read_given(path, model, drop)
