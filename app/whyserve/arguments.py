"""The command line: one subcommand per process or tool, with a flag for each of its settings."""

import argparse
import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from whyserve import __version__
from whyserve.api.middleware.keys import SCOPES
from whyserve.errors import ConfigurationError
from whyserve.model.methods import METHOD_NAMES
from whyserve.settings import (
    ApiSettings,
    CheckSettings,
    Common,
    DocumentSettings,
    ExportSettings,
    NewSettings,
    RecordSettings,
    TableSettings,
    UpSettings,
    VerifySettings,
    WorkerSettings,
)

PREFIX = "WHYSERVE_"
# Variables that are no settings of a command: of the processes of one service, and of docker-compose.yml.
OTHER_VARIABLES = {"OWNER", "PARENT_FD", "EXPORT_STEPS", "PUBLISH", "IMAGES"}
COMMANDS: dict[str, tuple[type[Common], str]] = {
    "up": (UpSettings, "export the models that changed, and serve all"),
    "export": (ExportSettings, "export the model folders that changed"),
    "check": (CheckSettings, "check a model folder, and print what it would serve and how it would be explained"),
    "verify": (VerifySettings, "check all files of exported models, without serving them"),
    "new": (NewSettings, "create a model folder with files to fill in"),
    "api": (ApiSettings, "run the API process alone"),
    "worker": (WorkerSettings, "run one explanation worker alone"),
    "explain": (TableSettings, "explain a file of rows in this process, without a service"),
    "record": (RecordSettings, "verify, export, purge or erase the decision record"),
    "openapi": (DocumentSettings, "print the OpenAPI document of the exported models"),
}


def parse(arguments: Sequence[str] | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The command, its settings as given by flags, and its own arguments. Exits with code 2 if they are invalid."""
    given = vars(_parser().parse_args(arguments))
    command = given.pop("command")
    # The command's process takes arguments that are no settings as parameters.
    settings = COMMANDS[command][0].model_fields if command in COMMANDS else given
    own = {name: given.pop(name) for name in list(given) if name not in settings}
    return command, given, own


def unknown_variables() -> list[str]:
    """A warning for each environment variable that looks like a setting and is none."""
    known = {PREFIX + name.upper() for settings, _ in COMMANDS.values() for name in settings.model_fields}
    known |= {PREFIX + name for name in OTHER_VARIABLES}
    warnings = []
    for name in sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known):
        near = difflib.get_close_matches(name, known, 1)
        warnings.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return warnings


def read_settings(command: str, given: dict[str, Any]) -> Common:
    """The command's settings, from flags and from the environment. Raises ConfigurationError."""
    try:
        return COMMANDS[command][0](**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise ConfigurationError(f"{PREFIX}{name.upper()}: {first['msg']}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whyserve", description="Serve Keras and PyTorch models over REST, and explain their predictions."
    )
    parser.add_argument("--version", action="version", version=f"whyserve {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (settings, description) in COMMANDS.items():
        command = commands.add_parser(name, help=description, description=description)
        if name == "record":
            _add_record(command)
            continue
        _add_settings(command, settings)
        if name == "api":
            command.add_argument("--fd", type=int, help=argparse.SUPPRESS)
        if name == "export":
            command.add_argument("--only", metavar="MODEL", help="Export this model alone.")
        if name == "explain":
            _add_explain(command)
    _add_key(commands)
    return parser


def _add_settings(command: argparse.ArgumentParser, settings: type[Common]) -> None:
    for key, field in settings.model_fields.items():
        if field.is_required():
            command.add_argument(key, help=field.description)
            continue
        default = "" if field.default in (None, "") else f" Default: {field.default}."
        text = f"{field.description}{default} Variable: {PREFIX}{key.upper()}"
        shown = argparse.SUPPRESS if key in settings.unused else text
        command.add_argument("--" + key.replace("_", "-"), default=argparse.SUPPRESS, help=shown)


def _add_explain(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="Name of an exported model.")
    command.add_argument("rows", nargs="+", help="Files, .csv or .parquet, with a column for each key of an instance.")
    command.add_argument(
        "-o", "--output", required=True, help="The file to write: .parquet, .csv or .jsonl. With ray: a folder."
    )
    command.add_argument(
        "--engine", choices=["local", "ray"], default="local", help="This process, or a Ray cluster. Default: local"
    )
    command.add_argument("--partition-rows", type=int, default=20480, help="With ray: rows of a file. Default: 20480")
    command.add_argument("--method", choices=METHOD_NAMES, default="auto", help="Explanation method. Default: auto")
    command.add_argument(
        "--outputs",
        default="top",
        help="What to explain: top, all, positive, or names separated by commas. Default: top",
    )
    command.add_argument("--scale", choices=["output", "log_odds"], help="Scale to explain. Default: the model's own")
    command.add_argument("--instead-of", help="Another output: explains the log ratio, or the difference, to it.")
    command.add_argument("--samples", type=int, help="Number of samples, for a sampled method. Default: the method's")
    command.add_argument("--standard-error", type=float, help="Sample until every standard error is at most this.")
    command.add_argument("--seed", type=int, default=0, help="Seed of a sampled method. Default: 0")
    command.add_argument(
        "--background",
        default="default",
        help="The name of one of the model's backgrounds, or a .csv or .parquet file of rows. Default: default",
    )
    command.add_argument("--players", help="What gets one attribution each: JSON, or a file of JSON.")
    command.add_argument("--drop", action="append", default=[], help="A column to ignore; may be repeated.")
    command.add_argument("--id", help="A column that names each row; it is copied to the output.")
    command.add_argument("--force", action="store_true", help="Replace the output file if it exists.")
    command.add_argument("--separator", help="Separator of a CSV file. Default: found from its heading")
    command.add_argument("--encoding", help="Encoding of a CSV file. Default: UTF-8, or UTF-16 with its mark")
    command.add_argument(
        "--decimal", choices=[".", ","], default=".", help="Decimal separator of a CSV file. Default: ."
    )


def _add_record(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True)
    words = {
        "verify": "find the first record that was changed, added, removed or reordered, in each chain",
        "export": "write all decisions to a file, Parquet or JSON lines",
        "purge": "delete the records before a time",
        "erase": "erase the content of a decision, or of one of its rows",
    }
    made = {name: actions.add_parser(name, help=each, description=each) for name, each in words.items()}
    for each in made.values():
        _add_settings(each, RecordSettings)
    made["verify"].add_argument("--checkpoints", type=Path, help="The file of WHYSERVE_RECORD_CHECKPOINTS.")
    made["export"].add_argument("-o", "--output", type=Path, required=True, help="The file: .parquet or .jsonl.")
    made["purge"].add_argument("--before", required=True, help="A time in ISO 8601, such as 2026-03-01.")
    made["erase"].add_argument("prediction", help="ID, or ID.ROW for one row.")


def _add_key(commands: Any) -> None:
    description = "create an API key, and print it with its line for WHYSERVE_KEYS_FILE"
    command = commands.add_parser("key", help=description, description=description)
    command.add_argument("name", help="Name of the key's owner: letters, digits, . _ and -")
    command.add_argument(
        "--scopes",
        default="predict,explain",
        help=f"Scopes separated by commas, of {', '.join(SCOPES)}. Default: predict,explain",
    )
