"""`whyserve new`: a complete model folder with generated data, as a start for a model of your own."""

from pathlib import Path

from whyserve.errors import ConfigurationError
from whyserve.model.spec import check_name

TEMPLATES = Path(__file__).parent / "templates"


def write_new(models: Path, name: str, framework: str) -> str:
    """Write models/<name>. Returns the next steps for the person. Raises ModelFault, ConfigurationError."""
    check_name(name)
    folder = models / name
    if folder.exists():
        raise ConfigurationError(f"{folder}: the folder already exists; choose another name")
    folder.mkdir(parents=True)
    for template in sorted((TEMPLATES / framework).iterdir()):
        # Templates end in .txt, so that linters and type checkers do not read them as code of this package.
        text = template.read_text(encoding="utf-8").replace("@@NAME@@", name)
        (folder / template.name.removesuffix(".txt")).write_text(text, encoding="utf-8")
    return (
        f"{folder} holds a {framework} model of generated data. Put in your own data and network, then run\n\n"
        f"  python {folder}/train.py\n  whyserve check {folder}\n"
    )
