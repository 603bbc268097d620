"""`whyserve up | export | check | new | api | worker | explain | openapi | key`."""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from whyserve.api.middleware.keys import SCOPES, fresh
from whyserve.errors import ConfigurationError, WhyserveError
from whyserve.model.methods import METHOD_NAMES
from whyserve.settings import (
    ApiSettings,
    CheckSettings,
    DocumentSettings,
    ExportSettings,
    NewSettings,
    Settings,
    TableSettings,
    UpSettings,
    WorkerSettings,
)

COMMANDS: dict[str, tuple[type[Settings], str]] = {
    "up": (UpSettings, "export what is stale, and serve"),
    "export": (ExportSettings, "make artifacts of the model folders that changed"),
    "check": (CheckSettings, "say what would be served from a model folder, and how it would be explained"),
    "new": (NewSettings, "write a model folder to fill in"),
    "api": (ApiSettings, "the API process alone"),
    "worker": (WorkerSettings, "an explanation worker alone"),
    "explain": (TableSettings, "explain a file of rows here, without a service"),
    "openapi": (DocumentSettings, "print the OpenAPI document of the exported models"),
}


# What a command takes besides settings.
OWN = ("fd", "model", "rows", "output", "method", "outputs", "samples", "seed", "background", "drop")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a fault ends it with exit code 1 and a line that says what to change."""
    given = vars(_parser().parse_args(arguments))
    command = given.pop("command")
    if command == "key":
        _print_key(**given)
        return
    own = {name: given.pop(name) for name in OWN if name in given}
    try:
        _run(command, _settings(COMMANDS[command][0], given), own)
    except WhyserveError as error:
        sys.exit(f"whyserve {command}: {error.message}")
    except KeyboardInterrupt:
        sys.exit(130)


def _print_key(name: str, scopes: str) -> None:
    try:
        secret, line = fresh(name, scopes.split(","))
    except WhyserveError as error:
        sys.exit(f"whyserve key: {error.message}")
    print(f"key, shown this once: {secret}\nline for WHYSERVE_KEYS_FILE: {line}")  # noqa: T201


def _run(command: str, settings: Settings, own: dict[str, Any]) -> None:
    if command in ("api", "worker"):
        # Until they have handlers of their own. The first process of a container is sent no signal it has none for.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Keras, and matplotlib under shap, else write their settings under the home folder.
    for variable, folder in (("KERAS_HOME", "keras"), ("MPLCONFIGDIR", "matplotlib")):
        os.environ.setdefault(variable, str(settings.state.absolute() / folder))
    # Imported here because each process holds only its own dependencies.
    match settings:
        case UpSettings():
            from whyserve.processes.supervisor import main as up  # noqa: PLC0415

            up(settings)
        case CheckSettings():
            from whyserve.export.package.package import check  # noqa: PLC0415

            print(check(settings.folder, settings.budget_ms))  # noqa: T201
        case NewSettings():
            from whyserve.export.package.new import write_new  # noqa: PLC0415

            print(write_new(settings.models, settings.name, settings.framework))  # noqa: T201
        case ExportSettings():
            from whyserve.export.build import export_all  # noqa: PLC0415

            export_all(settings.models, settings.artifacts, settings.budget_ms, lambda line: print(line, flush=True))  # noqa: T201
        case DocumentSettings():
            from whyserve.processes.document import main as document  # noqa: PLC0415

            document(settings, sys.stdout)
        case ApiSettings():
            from whyserve.processes.api import main as api  # noqa: PLC0415

            api(settings, socket.socket(fileno=own["fd"]) if own["fd"] is not None else None)
        case TableSettings():
            os.environ["KERAS_BACKEND"] = "torch"
            from whyserve.processes.table import main as explain  # noqa: PLC0415

            explain(settings, **own)
        case WorkerSettings():
            # Keras reads this when it is imported, and the worker's Keras is torch's.
            os.environ["KERAS_BACKEND"] = "torch"
            from whyserve.processes.worker import main as worker  # noqa: PLC0415

            worker(settings)
        case _:
            raise AssertionError(command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="whyserve", description="Serve a model, and say why.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (settings, words) in COMMANDS.items():
        command = commands.add_parser(name, help=words, description=words)
        for key, field in settings.model_fields.items():
            if field.is_required():
                command.add_argument(key, help=field.description)
                continue
            flag, default = "--" + key.replace("_", "-"), field.default
            command.add_argument(flag, default=argparse.SUPPRESS, help=f"{field.description} Default: {default}")
        if name == "api":
            command.add_argument("--fd", type=int, help=argparse.SUPPRESS)
        if name == "explain":
            _add_question(command)
    words = "print a fresh API key, and its line for the file of keys"
    command = commands.add_parser("key", help=words, description=words)
    command.add_argument("name", help="Whose it is: letters, digits, . _ and -")
    command.add_argument(
        "--scopes", default="predict,explain", help=f"Of {', '.join(SCOPES)}, with commas. Default: predict,explain"
    )
    return parser


def _add_question(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="Name of an exported model.")
    command.add_argument("rows", type=Path, help="A CSV or .parquet file, a column for each key of an instance.")
    command.add_argument("-o", "--output", type=Path, required=True, help="The .parquet file of explanations to write.")
    command.add_argument(
        "--method",
        choices=METHOD_NAMES,
        default="auto",
        help="How to explain. Default: auto",
    )
    command.add_argument("--outputs", default="top", help="top, all, or names with commas between. Default: top")
    command.add_argument("--samples", type=int, help="How much to sample, for a method that samples.")
    command.add_argument("--seed", type=int, default=0, help="Equal seeds give equal answers. Default: 0")
    command.add_argument(
        "--background",
        default="default",
        help="What to explain against: one of the model's by its name, or a .csv or .parquet file. Default: default",
    )
    command.add_argument("--drop", action="append", default=[], help="A column to pass over; may be given again.")


def _settings(kind: type[Settings], given: dict[str, Any]) -> Settings:
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise ConfigurationError(f"WHYSERVE_{name.upper()}: {first['msg']}") from error


if __name__ == "__main__":
    main()
