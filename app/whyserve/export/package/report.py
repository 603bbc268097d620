"""The result of `whyserve.package` and `whyserve check`: a model that can be served, with a report for people."""

from dataclasses import dataclass
from pathlib import Path

from whyserve.export.parity import parity_text
from whyserve.model.manifest import Manifest
from whyserve.model.spec import ModelSpec


@dataclass(frozen=True, slots=True, repr=False)
class Packaged:
    """A model that can be served. Its repr is a short report.

    notes: decisions that were made without an argument of the caller. example: one row as a request, with its answer.
    """

    folder: Path
    manifest: Manifest
    notes: tuple[str, ...] = ()
    example: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        manifest, spec, certificate = self.manifest, self.manifest.spec, self.manifest.certificate
        figures = certificate["methods"][certificate["default"]]
        if "samples" in certificate:
            figures = figures["within_budget"]
        lines = [
            ("model", f"{spec.name}, version {spec.version}, from {spec.framework}, in {self.folder}"),
            ("inputs", ", ".join(f"{item.name} ({item.size_text}, {item.dtype})" for item in spec.inputs)),
            ("outputs", f"{', '.join(spec.output_names[:12])} ({spec.output.scores})"),
            *(("categories", text) for text in _category_texts(spec)),
            ("parity", parity_text(manifest.parity)),
            *([("precision", f"float32; {spec.precision.text}")] if spec.precision else []),
            ("method", f"{certificate['default']}: {certificate['reason']}"),
            ("residual", f"at most {figures['residual']:.0e} of the output's scale"),
            ("time", f"{figures['ms_per_row']:.2g} ms per row with {manifest.background_rows} background rows"),
            *self.example,
            *(("note", note) for note in self.notes),
            *(("note", f"{name}: {m['why']}") for name, m in certificate["methods"].items() if not m["fits"]),
        ]
        return "\n".join(f"{key:<10} {text}" for key, text in lines)


def _category_texts(spec: ModelSpec) -> list[str]:
    """The code of each category, for each feature that has categories."""
    return [
        f"{feature.name}: " + ", ".join(f"{code} {name}" for code, name in enumerate(feature.categories))
        for item in spec.inputs
        for feature in item.features
        if feature.categories
    ]
