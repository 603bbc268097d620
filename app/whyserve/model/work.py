"""The counted work of an explanation, for the limits of API keys and for the order in which workers compute."""

from typing import NamedTuple, Self

from whyserve.model.choice import SAMPLING_METHOD, MethodChoice, trials
from whyserve.model.manifest import Manifest
from whyserve.model.methods import METHODS


class Work(NamedTuple):
    """units: explained outputs of all rows × background rows × samples; a method that does not sample has 1 sample.

    seconds: the time for these units at the pace of the model's certificate.
    """

    units: int
    seconds: float

    def filling(self, seconds: float) -> Self:
        """The work of a method that samples for so many seconds."""
        more = max(1.0, seconds / self.seconds) if self.seconds else 1.0
        return self._replace(units=round(self.units * more), seconds=max(seconds, self.seconds))


def counted_work(manifest: Manifest, choice: MethodChoice, outputs: int, background_rows: int) -> Work:
    """The work of a request. outputs: the explained outputs of all rows."""
    usual = METHODS[choice.method].samples
    units = outputs * background_rows * ((choice.samples or usual) if usual else 1)
    # A method that the certificate does not measure has the pace of the sampling method.
    pace = choice.method if METHODS[choice.method].measured else SAMPLING_METHOD
    measured = trials(manifest.certificate["methods"][pace])
    # With few samples, the time of a sample is known best.
    figures = min(measured, key=lambda each: each.get("samples", usual or 1))
    measured_units = manifest.spec.outputs_asked * manifest.background_rows * figures.get("samples", usual or 1)
    return Work(units, units * figures.get("ms_per_row", 0.0) / 1e3 / measured_units)
