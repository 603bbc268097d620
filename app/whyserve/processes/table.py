"""`whyserve explain`: explain a file of rows in this process, without a service."""

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from whyserve.batch.arrow import Loader
from whyserve.errors import ConfigurationError
from whyserve.explain.allocator import keep_freed_memory
from whyserve.explain.game.device import open_device
from whyserve.explain.models.explainable import ExplainableModel, load_model
from whyserve.jobs import GivenBackground
from whyserve.model.builds import model_folders
from whyserve.model.manifest import MANIFEST_FILE
from whyserve.model.spec import ScaleName
from whyserve.settings import TableSettings
from whyserve.tables.answers import check_output
from whyserve.tables.explain import Question, Totals, explain_files, read_given
from whyserve.tables.files import CSV, PARQUET, Dialect, has_ending, matching
from whyserve.tables.rows import Reading

SOME_REFUSED, ALL_REFUSED = 3, 4


def main(
    settings: TableSettings,
    *,
    model: str,
    rows: Sequence[str],
    output: str,
    method: str,
    outputs: str,
    samples: int | None,
    seed: int,
    background: str,
    drop: Sequence[str],
    scale: ScaleName | None = None,
    instead_of: str | None = None,
    players: str | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    decimal: Literal[".", ","] = ".",
    id: str | None = None,
    standard_error: float | None = None,
    force: bool = False,
    engine: Literal["local", "ray"] = "local",
    partition_rows: int = 20480,
) -> int:
    """Explain all rows and print a summary line. A row that cannot be explained is printed, not raised.

    Returns the exit code: 0 if every row was explained, SOME_REFUSED or ALL_REFUSED. Raises WhyserveError for all other
    errors.
    """
    logging.basicConfig(level=settings.log_level.upper())
    torch.set_num_threads(settings.worker_threads)
    keep_freed_memory()
    if (samples is not None and samples < 1) or seed < 0:
        raise ConfigurationError("--samples must be at least 1, and --seed at least 0")
    if standard_error is not None and not standard_error > 0:
        raise ConfigurationError("--standard-error must be above 0")
    places = matching(rows)
    if engine == "local":
        check_output(output, [*places, background], force=force)
    reading = Reading(drop, id, Dialect(separator, encoding, decimal))
    artifact = next((f for f in model_folders(settings.artifacts, MANIFEST_FILE) if f.name == model), None)
    if artifact is None:
        raise ConfigurationError(f"no exported model {model} in {settings.artifacts}; run `whyserve export`")
    print(f"loading {model}", file=sys.stderr)  # noqa: T201
    loaded = load_model(settings.models, artifact, settings.memory_mb << 20, open_device(settings.device))
    chosen = background if background in loaded.backgrounds else _given(background, loaded, reading)
    asked = outputs if outputs in loaded.spec.output_keywords else outputs.split(",")
    question = Question(method, asked, samples, standard_error, seed, chosen, scale, instead_of, _players(players))
    began = time.monotonic()
    with tqdm(unit=" rows", file=sys.stderr, disable=None) as bar:

        def say(done: float, total: int) -> None:
            bar.total = total
            bar.update(int(done) - bar.n)

        if engine == "ray":
            from whyserve.batch.on_ray import Work, explain_on_ray  # noqa: PLC0415 (only here Ray is needed)

            folders = str(settings.models.absolute()), str(artifact.absolute())
            loader = Loader(*folders, settings.memory_mb, settings.device)
            work = Work(loader, question, reading, output)
            run = explain_on_ray(work, loaded, places, partition_rows=partition_rows, force=force, on_progress=say)
        else:
            run = explain_files(loaded, places, output, question, reading, on_progress=say)
    return _report(run, output, time.monotonic() - began)


def _report(totals: Totals, output: str, seconds: float) -> int:
    """Print what was done. Returns the exit code."""
    for fault in totals.faults:
        print(fault, file=sys.stderr)  # noqa: T201
    if totals.refused > len(totals.faults):
        print(f"and {totals.refused - len(totals.faults)} more rows", file=sys.stderr)  # noqa: T201
    good = totals.rows - totals.refused
    print(f"{output}: {good} of {totals.rows} rows explained in {seconds:.1f} s")  # noqa: T201
    return 0 if not totals.refused else SOME_REFUSED if good else ALL_REFUSED


def _players(given: str | None) -> dict[str, Any] | None:
    """The players of --players. Raises ConfigurationError if it is no JSON object, nor a file of one."""
    if given is None:
        return None
    try:
        found = json.loads(given if given.lstrip().startswith("{") else Path(given).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigurationError('--players: must be a JSON object, such as {"hold": ["mask"]}, or its file') from error
    if not isinstance(found, dict):
        raise ConfigurationError("--players: must be a JSON object: the players by input")
    return found


def _given(background: str, model: ExplainableModel, reading: Reading) -> GivenBackground:
    if not has_ending(background, (*CSV, *PARQUET)):
        names = ", ".join(model.backgrounds)
        raise ConfigurationError(
            f"--background: unknown background {background}; {model.spec.name} has {names}; or name a .csv or .parquet "
            "file of rows"
        )
    return read_given(background, model, replace(reading, id_column=None))
