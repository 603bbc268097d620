"""The result of `whyserve.package` and `whyserve check`: a model that can be served, with a report for people."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whyserve.export.parity import parity_text
from whyserve.model.builds import ORIGINAL
from whyserve.model.choice import chosen_players, default_figures, warnings
from whyserve.model.image import Pictures
from whyserve.model.manifest import Manifest, read_checked
from whyserve.model.outputs import Outputs
from whyserve.model.rows import RowReader
from whyserve.model.text import text_readers
from whyserve.predict.session import OnnxSession

LONGEST = 400  # characters of an example


@dataclass(frozen=True, slots=True, repr=False)
class Packaged:
    """A model that can be served. Its repr is a short report.

    folder: of the model; a text if it is an address in an object store.
    notes: decisions that were made without an argument of the caller. example: lines about one row: as a request, with
    the answer and the reasons that the exported model gives.
    """

    folder: Path | str
    manifest: Manifest
    notes: tuple[str, ...] = ()
    example: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, folder: Path, manifest: Manifest, artifacts: Path, notes: tuple[str, ...] = ()) -> "Packaged":
        """The report on the model of a folder that was exported to `artifacts`."""
        return cls(folder, manifest, notes, _example((artifacts / folder.name).resolve(), manifest))

    def __repr__(self) -> str:
        manifest, spec, certificate = self.manifest, self.manifest.spec, self.manifest.certificate
        figures = default_figures(certificate)
        lines = [
            ("model", f"{spec.name}, version {spec.version}, from {spec.framework}, in {self.folder}"),
            ("inputs", ", ".join(f"{item.name} ({item.size_text}, {item.dtype})" for item in spec.inputs)),
            ("outputs", f"{', '.join(spec.output_names[:12])} ({spec.output.scores})"),
            *(
                ("categories", f"{name}: " + ", ".join(f"{code} {each}" for code, each in enumerate(order)))
                for name, order in spec.categories.items()
            ),
            ("parity", parity_text(manifest.parity)),
            *([("precision", f"float32; {spec.precision.text}")] if spec.precision else []),
            ("method", f"{certificate['default']}: {certificate['reason']}"),
            *(("players", players) for players in chosen_players(manifest)),
            ("residual", f"at most {figures['residual']:.0e} of the output's scale"),
            ("time", f"{figures['ms_per_row']:.2g} ms per row with {manifest.background_rows} background rows"),
            *self.example,
            *(("note", note) for note in (*self.notes, *warnings(manifest))),
            *(("note", f"{name}: {m['why']}") for name, m in certificate["methods"].items() if not m["fits"]),
        ]
        return "\n".join(f"{key:<10} {text}" for key, text in lines)


def _example(artifact: Path, manifest: Manifest) -> tuple[tuple[str, str], ...]:
    spec, instance = manifest.spec, manifest.example["instances"][0]
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
