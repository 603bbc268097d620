"""A model as the worker holds it: the original network, its background, and the methods made ready."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from whyserve.errors import InvalidInput, ModelFault, UnsupportedMethod
from whyserve.explain.game.base import Explainer, Inputs
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.registry import EXPLAINERS
from whyserve.explain.models.loader import ReadFile, load_network
from whyserve.explain.models.traced_network import quick_network
from whyserve.jobs import GivenBackground
from whyserve.model.arrays import check_arrays, read_npz
from whyserve.model.builds import read_original
from whyserve.model.manifest import Manifest, read_manifest
from whyserve.model.methods import METHODS
from whyserve.model.outputs import Outputs
from whyserve.model.players import player_numbers
from whyserve.model.rows import Arrays
from whyserve.model.spec import DEFAULT_BACKGROUND, REQUEST_BACKGROUND, ModelSpec
from whyserve.model.text import TextReader, text_readers

Background = str | GivenBackground
"""The name of one of the model's, or rows that came with a request."""

# Methods made ready for backgrounds that came with requests: of a person who tries one row after another, the last.
KEPT_GIVEN = 2
ELSEWHERE = "chosen, and measured, with the default background and not with this one"


@dataclass(frozen=True, slots=True)
class Choice:
    """How something is explained. reason: of the method, where it was not asked for. samples: None is its default.

    distance: what was measured, where it was with this background and as many samples.
    """

    method: str
    reason: str | None
    samples: int | None
    distance: float | None


def to_tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def load_background(spec: ModelSpec, read: ReadFile, name: str = DEFAULT_BACKGROUND) -> dict[str, torch.Tensor]:
    """A background, (rows, *shape) by input. Raises ModelFault."""
    file = spec.explain.files[name]
    try:
        return to_tensors(check_arrays(spec, read_npz(read(file))))
    except InvalidInput as error:
        raise ModelFault(f"{spec.name}/{file}: {error.message}") from error


def players_of(spec: ModelSpec) -> Players:
    """Every feature or group of features, and every element of the other inputs, a player."""
    membership = to_tensors(player_numbers(spec))
    return Players(1 + max(int(numbers.max()) for numbers in membership.values()), membership)


class ExplainableModel:
    """One version of one model, in one worker."""

    def __init__(self, manifest: Manifest, digest: str, read: ReadFile, memory_bytes: int) -> None:
        self.manifest, self.spec, self.digest = manifest, manifest.spec, digest
        self.outputs = Outputs(self.spec, manifest.columns)
        self.players = players_of(self.spec)
        self.backgrounds = {name: load_background(self.spec, read, name) for name in self.spec.explain.files}
        self.background = self.backgrounds[DEFAULT_BACKGROUND]
        self.network: Network = quick_network(self.spec, load_network(self.spec, read), self.background)
        self._memory_bytes, self._read = memory_bytes, read
        self._ready: dict[tuple[str, str], Explainer] = {}
        self._given: OrderedDict[tuple[str, str], Explainer] = OrderedDict()
        self._lock = Lock()

    @cached_property
    def texts(self) -> Mapping[str, TextReader]:
        """Of each input that is sent as text, its reader: for rows of a file, as a job's were read already."""
        return text_readers(self.spec, self._read)

    def choose(self, asked: str, background: Background = DEFAULT_BACKGROUND, *, samples: int | None = None) -> Choice:
        """The method for what was asked, with the samples that were, or else that its time budget has room for.

        Another background than the default has the method that was chosen for that one, and the reason says so.
        Raises UnsupportedMethod where the method does not fit this model.
        """
        certificate, known = self.manifest.certificate, background == DEFAULT_BACKGROUND
        tried = certificate["methods"]
        method = self.spec.explain.method if asked == "auto" else asked
        reason = None if method == asked else "the method of model.toml"
        if method == "auto":
            method, reason = certificate["default"], certificate["reason"]
            if not known:
                reason = f"{ELSEWHERE}: {reason}"
            if samples is None and "samples" in certificate:
                fewer = tried[method]["within_budget"]
                return Choice(method, reason, fewer["samples"], fewer["distance"] if known else None)
        elif method not in tried or not tried[method]["fits"]:
            why = tried[method]["why"] if method in tried else "there is no such method"
            raise UnsupportedMethod(f'"{method}" cannot explain {self.spec.name}: {why}', field="method")
        measured = known and (samples is None or not METHODS[method].samples)
        return Choice(method, reason, samples, tried[method]["distance"] if measured else None)

    def explainer(self, method: str, background: Background = DEFAULT_BACKGROUND) -> Explainer:
        """The method, made ready at its first use and kept; of backgrounds that came with requests, the last few.

        Raises UnsupportedNetwork, and InvalidInput for rows that are not the model's.
        """
        with self._lock:
            if isinstance(background, str):
                if (method, background) not in self._ready:
                    self._ready[method, background] = self._prepare(method, self.backgrounds[background])
                return self._ready[method, background]
            key = (method, background.sha256)
            if key not in self._given:
                arrays = {name: packed.unpack() for name, packed in background.arrays.items()}
                self._given[key] = self._prepare(method, to_tensors(check_arrays(self.spec, arrays)))
            self._given.move_to_end(key)
            if len(self._given) > KEPT_GIVEN:
                self._given.popitem(last=False)
            return self._given[key]

    def _prepare(self, method: str, background: Inputs) -> Explainer:
        return EXPLAINERS[method](self.network, background, self.players, memory_bytes=self._memory_bytes)

    def described(self, background: Background) -> dict[str, Any]:
        """What an answer says of the background it is against."""
        if isinstance(background, str):
            rows, digest = self.manifest.background(background)
            return {"name": background, "rows": rows, "sha256": digest}
        return {"name": REQUEST_BACKGROUND, "rows": background.rows, "sha256": background.sha256}

    def warm(self) -> None:
        """Make the default method ready, so that the first caller does not wait for it."""
        self.explainer(self.choose("auto").method)


def load_model(models: Path, artifact: Path, memory_bytes: int) -> ExplainableModel:
    """Load the original of an artifact. Raises ModelFault, DigestMismatch, which name the file."""
    manifest, digest = read_manifest(artifact)
    build = artifact.resolve()
    model = ExplainableModel(manifest, digest, lambda name: read_original(models, build, name, manifest), memory_bytes)
    model.warm()
    return model
