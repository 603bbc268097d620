"""`whyserve new`: a model folder that is whole, of made-up data, for a person to put the own in."""

from pathlib import Path

from whyserve.errors import ConfigurationError
from whyserve.model.spec import check_name

TEMPLATES = Path(__file__).parent / "templates"


def write_new(models: Path, name: str, framework: str) -> str:
    """Write models/<name>; gives what to do next. Raises ModelFault, ConfigurationError."""
    check_name(name)
    folder = models / name
    if folder.exists():
        raise ConfigurationError(f"{folder}: is there already; choose another name")
    folder.mkdir(parents=True)
    for template in sorted((TEMPLATES / framework).iterdir()):
        # Not files of this program but of the next model: hence the ending, which no tool takes for Python.
        text = template.read_text(encoding="utf-8").replace("@@NAME@@", name)
        (folder / template.name.removesuffix(".txt")).write_text(text, encoding="utf-8")
    return (
        f"{folder} holds a model of made-up data, in {framework}. Put your own data and network into it, then\n\n"
        f"  python {folder}/train.py\n  whyserve check {folder}\n"
    )
