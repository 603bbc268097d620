"""The counted work of an explanation, for the limits of API keys and for the order in which workers compute."""

from typing import NamedTuple

from whyserve.model.manifest import Manifest
from whyserve.model.methods import METHODS


class Work(NamedTuple):
    """units: explained outputs of all rows × background rows × samples; a method that does not sample has 1 sample.

    seconds: the time for these units at the pace of the model's certificate.
    """

    units: int
    seconds: float


def counted_work(manifest: Manifest, method: str, samples: int | None, outputs: int, background_rows: int) -> Work:
    """The work of a request. method, samples: as requested. outputs: the explained outputs of all rows."""
    certificate = manifest.certificate
    if method == "auto":
        method = manifest.spec.explain.method
    if method == "auto":
        method, samples = certificate["default"], samples or certificate.get("samples")
    usual = METHODS[method].samples
    units = outputs * background_rows * ((samples or usual) if usual else 1)
    figures = certificate["methods"].get(method, {})
    # With within_budget, the time of these few samples is known best.
    figures = figures.get("within_budget", {"samples": usual or 1, **figures})
    measured_units = manifest.spec.outputs_asked * manifest.background_rows * figures["samples"]
    return Work(units, units * figures.get("ms_per_row", 0.0) / 1e3 / measured_units)
