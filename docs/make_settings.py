"""Write docs/settings.md, and the settings in docker-compose.yml and .env.example, from app/whyserve/settings.py.

python docs/make_settings.py
"""

from pathlib import Path
from typing import get_args

from pydantic.fields import FieldInfo

from whyserve.settings import (
    ApiSettings,
    Common,
    ExportSettings,
    NewSettings,
    TableSettings,
    UpSettings,
    WorkerSettings,
)

ROOT = Path(__file__).parent.parent
PROCESSES: dict[str, type[Common]] = {
    "up": UpSettings,
    "export": ExportSettings,
    "API": ApiSettings,
    "worker": WorkerSettings,
    "explain": TableSettings,
}
UNITS = {"_requests_s": "per second", "_cost_s": "per second", "_s": "seconds", "_ms": "milliseconds", "_mb": "MiB"}
# The images and docker-compose.yml set these, or set another default.
FIXED = {
    "host", "port", "models", "artifacts", "state", "redis_url", "health_file", "worker_metrics_port", "keys_file",
    "keys", "allow_anonymous", "log_level",
}  # fmt: skip
BEGIN, END = "# Made by docs/make_settings.py, from here", "# to here."
HEAD = """# Settings

This page lists every setting. `python docs/make_settings.py` makes it from the code.

A setting is an environment variable, or a flag of the same name: `WHYSERVE_QUEUE_DEPTH=500`, or `--queue-depth 500`. \
A flag wins. An empty variable counts as unset. A variable that begins with `WHYSERVE_` and is no setting produces a \
warning.

`whyserve up` has all settings of the processes that it starts: the export, the API and the worker. `explain` is the \
command for files of rows.

| variable | default | unit | processes | meaning |
| --- | --- | --- | --- | --- |
"""


def fields() -> dict[str, FieldInfo]:
    return {**UpSettings.model_fields, **{n: f for n, f in NewSettings.model_fields.items() if not f.is_required()}}


def variable(name: str) -> str:
    return f"WHYSERVE_{name.upper()}"


def default_of(field: FieldInfo) -> str:
    value = field.default
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def unit_of(name: str, field: FieldInfo) -> str:
    choices = [value for value in get_args(field.annotation) if isinstance(value, str)]
    if choices:
        return ", ".join(choices)
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")


def processes_of(name: str) -> str:
    used = [role for role, kind in PROCESSES.items() if name in kind.model_fields and name not in kind.unused]
    if used == ["up"] or used[:1] != ["up"]:
        return ", ".join(used) or "new"
    return ", ".join(used[1:])


def page() -> str:
    rows = []
    for name, field in fields().items():
        given = default_of(field)
        cells = [variable(name), f"`{given}`" if given else "unset", unit_of(name, field), processes_of(name)]
        rows.append(f"| `{cells[0]}` | {' | '.join(cells[1:])} | {str(field.description).replace('|', '/')} |\n")
    return HEAD + "".join(rows)


def passed() -> dict[str, FieldInfo]:
    """The settings that docker-compose.yml passes to API and worker."""
    served = {**ApiSettings.model_fields, **WorkerSettings.model_fields}
    return {name: field for name, field in served.items() if name not in FIXED}


def compose_block() -> str:
    return "".join(f"      {variable(n)}: ${{{variable(n)}:-{default_of(f)}}}\n" for n, f in passed().items())


def example_block() -> str:
    return "".join(f"# {f.description}\n{variable(n)}={default_of(f)}\n" for n, f in passed().items())


def with_block(text: str, block: str) -> str:
    """The text with another content between the lines BEGIN and END."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    indent = head[head.rindex("\n") + 1 :]
    return f"{head}{BEGIN}\n{block}{indent}{END}{tail}"


def made() -> dict[Path, str]:
    """The content of each file."""
    compose, example = ROOT / "docker-compose.yml", ROOT / ".env.example"
    return {
        ROOT / "docs" / "settings.md": page(),
        compose: with_block(compose.read_text(), compose_block()),
        example: with_block(example.read_text(), example_block()),
    }


if __name__ == "__main__":
    for path, content in made().items():
        path.write_text(content)
