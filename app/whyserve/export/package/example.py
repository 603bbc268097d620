"""One row as a request, with the answer and the reasons that the exported model gives."""

import json
from pathlib import Path
from typing import Any

from whyserve.model.builds import ORIGINAL
from whyserve.model.image import Pictures
from whyserve.model.manifest import Manifest, read_checked
from whyserve.model.outputs import Outputs
from whyserve.model.rows import RowReader
from whyserve.model.text import text_readers
from whyserve.predict.session import OnnxSession

LONGEST = 400  # characters


def describe_example(artifact: Path, manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Lines of a report: the example as a request, what /predict answers, and the largest attributions."""
    spec, artifact = manifest.spec, artifact.resolve()
    instance = manifest.example["instances"][0]
    readers = text_readers(spec, lambda name: read_checked(artifact / ORIGINAL, name, manifest, spec.name))
    table = OnnxSession(artifact, manifest, 1).run(RowReader(spec, readers)(Pictures(spec)([instance])))
    answer = Outputs(spec, manifest.columns).predictions(table)[0]
    shares = ", ".join(f"{name} {value:+.4g}" for name, value in manifest.reasons["attributions"].items())
    return (
        ("request", _short({"model": spec.name, "instances": [instance]})),
        ("answer", _short(answer)),
        ("reasons", f"{manifest.reasons['output']}: {shares}"),
    )


def _short(value: Any) -> str:
    """JSON with six digits, cut where it is long."""
    rounded = json.loads(json.dumps(value), parse_float=lambda text: float(f"{float(text):.6g}"))
    text = json.dumps(rounded, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
