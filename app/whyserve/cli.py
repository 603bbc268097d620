"""`whyserve up | export | check | verify | new | api | worker | explain | openapi | record | key`."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from whyserve.api.middleware.keys import fresh
from whyserve.arguments import parse, read_settings, unknown_variables
from whyserve.errors import ConfigurationError, WhyserveError
from whyserve.imports import importing, leave_out_imported
from whyserve.processes.parent import PARENT_FD, stop_with_parent
from whyserve.processes.temporary import check_temporary_folder
from whyserve.remote import address_of, fetch
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. A WhyserveError ends the process with exit code 1 and its message."""
    command, given, own = parse(arguments)
    if PARENT_FD not in os.environ:  # else the parent has warned
        for warning in unknown_variables():
            print(f"whyserve {command}: {warning}", file=sys.stderr)  # noqa: T201
    try:
        if command == "key":
            _print_key(**given)
        else:
            _run(command, read_settings(command, given), own)
    except WhyserveError as error:
        sys.exit(f"whyserve {command}: {error.message}")
    except KeyboardInterrupt:
        sys.exit(130)


def _print_key(name: str, scopes: str) -> None:
    secret, line = fresh(name, scopes.split(","))
    print(f"key (it is not shown again): {secret}\nline for WHYSERVE_KEYS_FILE: {line}")  # noqa: T201


def _prepare(command: str, settings: Common) -> None:
    if command not in ("up", "new", "verify"):
        # Until the process sets its own handlers. The kernel sends a container's first process no signal without one,
        # and without one an export would leave its processes and its work folder.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if command in ("api", "worker") else 143))
    if command not in ("new", "verify", "record"):
        check_temporary_folder()
    # Without these, Keras and matplotlib (under shap) write their settings into the home folder.
    for variable, folder in (("KERAS_HOME", "keras"), ("MPLCONFIGDIR", "matplotlib")):
        os.environ.setdefault(variable, str(settings.state.absolute() / folder))


def _run(command: str, settings: Common, own: dict[str, Any]) -> None:
    _prepare(command, settings)
    with importing():
        run = _entry(command, settings, own)
    leave_out_imported()
    if (code := run()) is not None:
        sys.exit(code)


def _entry(command: str, settings: Common, own: dict[str, Any]) -> Callable[[], int | None]:
    """The command as a function, which returns the exit code; each process imports its own dependencies only."""
    run: Callable[[], int | None]
    match settings:
        case UpSettings():
            from whyserve.processes.supervisor import main as up  # noqa: PLC0415

            run = partial(up, settings)
        case CheckSettings():
            from whyserve.export.package.package import check  # noqa: PLC0415

            run = partial(_say_what, check, settings.folder, settings.budget_ms, settings.budget_max_ms)
        case NewSettings():
            from whyserve.export.package.new import write_new  # noqa: PLC0415

            if address := address_of(settings.models):
                raise ConfigurationError(f"{address}: `whyserve new` writes to a folder; add --models FOLDER")
            run = partial(_say_what, write_new, settings.models, settings.name, settings.framework)
        case VerifySettings():
            from whyserve.export.verify import verify_all  # noqa: PLC0415

            run = partial(verify_all, settings.artifacts, _say)
        case ExportSettings():
            run = partial(_export, settings, own["only"])
        case RecordSettings():
            from whyserve.processes.record import main as record  # noqa: PLC0415

            run = partial(record, settings, **own)
        case DocumentSettings():
            from whyserve.processes.document import main as document  # noqa: PLC0415

            run = partial(document, settings, sys.stdout)
        case ApiSettings():
            from whyserve.processes.api import main as api  # noqa: PLC0415

            run = partial(api, settings, socket.socket(fileno=own["fd"]) if own["fd"] is not None else None)
        case WorkerSettings():
            # Keras reads this variable at its import.
            os.environ["KERAS_BACKEND"] = "torch"
            from whyserve.processes.worker import main as worker  # noqa: PLC0415

            run = partial(worker, settings)
        case TableSettings():
            os.environ["KERAS_BACKEND"] = "torch"
            from whyserve.processes.table import main as explain  # noqa: PLC0415

            run = partial(explain, settings, **own)
        case _:
            raise AssertionError(command)
    return run


def _export(settings: ExportSettings, only: str | None) -> None:
    from whyserve.export.build import export_all  # noqa: PLC0415

    stop_with_parent()
    fetch(settings.models, only)
    export_all(
        settings.models,
        settings.artifacts,
        settings.budget_ms,
        _say,
        settings.budget_max_ms,
        record=settings.record,
        only=only,
    )


def _say_what(answer: Callable[..., object], *given: Any) -> None:
    _say(str(answer(*given)))


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
