"""A model in the worker: the original network, its backgrounds, and the prepared explanation methods."""

from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from whyserve.errors import InvalidInput, ModelFault
from whyserve.explain.game.base import Explainer, Inputs
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.registry import EXPLAINERS
from whyserve.explain.models.loader import ReadFile, load_network
from whyserve.explain.models.traced_network import quick_network
from whyserve.jobs import GivenBackground
from whyserve.model.arrays import check_arrays, read_npz
from whyserve.model.bounds import Bounds
from whyserve.model.builds import read_original
from whyserve.model.choice import MethodChoice, choose_method
from whyserve.model.manifest import Manifest, read_manifest
from whyserve.model.outputs import Outputs
from whyserve.model.players import ByKey, player_numbers
from whyserve.model.rows import Arrays
from whyserve.model.spec import DEFAULT_BACKGROUND, REQUEST_BACKGROUND, ModelSpec
from whyserve.model.text import TextReader, text_readers

Background = str | GivenBackground
"""The name of one of the model's backgrounds, or the rows of a request."""

# How many methods stay prepared for backgrounds of requests: one user often explains many rows with one background.
KEPT_REQUEST_BACKGROUNDS = 2


def to_tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def load_background(spec: ModelSpec, read: ReadFile, name: str = DEFAULT_BACKGROUND) -> dict[str, torch.Tensor]:
    """A background, (rows, *shape) per input. Raises ModelFault, which names the file."""
    file = spec.explain.files[name]
    try:
        return to_tensors(check_arrays(spec, read_npz(read(file))))
    except InvalidInput as error:
        raise ModelFault(f"{spec.name}/{file}: {error.message}") from error


def players_of(spec: ModelSpec) -> Players:
    """One player per feature or group of features, and per element of every other input."""
    membership = to_tensors(player_numbers(spec))
    return Players(1 + max(int(numbers.max()) for numbers in membership.values()), membership)


class ExplainableModel:
    """One build of one model. Thread-safe."""

    def __init__(self, manifest: Manifest, digest: str, read: ReadFile, memory_bytes: int) -> None:
        self.manifest, self.spec, self.digest = manifest, manifest.spec, digest
        self.outputs = Outputs(self.spec, manifest.columns)
        self.bounds = Bounds(self.spec, manifest.ranges)
        self.players, self.by_key = players_of(self.spec), ByKey(self.spec)
        self.backgrounds = {name: load_background(self.spec, read, name) for name in self.spec.explain.files}
        self.background = self.backgrounds[DEFAULT_BACKGROUND]
        self._original, self._memory_bytes, self._read = load_network(self.spec, read), memory_bytes, read
        # Prepared methods, by method and background: those of the model by name, those of requests by digest.
        self._prepared: dict[tuple[str, str], Explainer] = {}
        self._request_prepared: OrderedDict[tuple[str, str], Explainer] = OrderedDict()
        self._lock = Lock()

    @cached_property
    def network(self) -> Network:
        """The network, traced if that makes its passes faster. A trace takes seconds, so the first use makes it."""
        return quick_network(self.spec, self._original, self.background)

    @cached_property
    def texts(self) -> Mapping[str, TextReader]:
        """The reader of each text input, for rows of a file. The rows of a job are already token ids."""
        return text_readers(self.spec, self._read)

    def choose_method(
        self,
        requested: str,
        background: Background = DEFAULT_BACKGROUND,
        *,
        samples: int | None = None,
        standard_error: float | None = None,
    ) -> MethodChoice:
        """See model.choice. Raises UnsupportedMethod."""
        default = background == DEFAULT_BACKGROUND
        return choose_method(self.manifest, requested, samples, standard_error, default_background=default)

    def explainer(self, method: str, background: Background = DEFAULT_BACKGROUND) -> Explainer:
        """The prepared method. It is prepared at its first use and kept; for backgrounds of requests, the last few.

        Raises UnsupportedNetwork, and InvalidInput if the rows of a request do not fit the model.
        """
        with self._lock:
            if isinstance(background, str):
                if (method, background) not in self._prepared:
                    self._prepared[method, background] = self._prepare(method, self.backgrounds[background])
                return self._prepared[method, background]
            key = (method, background.sha256)
            if key not in self._request_prepared:
                arrays = {name: packed.unpack() for name, packed in background.arrays.items()}
                self._request_prepared[key] = self._prepare(method, to_tensors(check_arrays(self.spec, arrays)))
            self._request_prepared.move_to_end(key)
            if len(self._request_prepared) > KEPT_REQUEST_BACKGROUNDS:
                self._request_prepared.popitem(last=False)
            return self._request_prepared[key]

    def _prepare(self, method: str, background: Inputs) -> Explainer:
        return EXPLAINERS[method](self.network, background, self.players, memory_bytes=self._memory_bytes)

    def describe_background(self, background: Background) -> dict[str, Any]:
        """The description of a background in a response."""
        if isinstance(background, str):
            rows, digest = self.manifest.background(background)
            return {"name": background, "rows": rows, "sha256": digest}
        return {"name": REQUEST_BACKGROUND, "rows": background.rows, "sha256": background.sha256}

    def warm(self) -> None:
        """Trace the network and prepare the default method, so that the first request does not wait for them."""
        self.explainer(self.choose_method("auto").method)


def load_model(models: Path, artifact: Path, memory_bytes: int) -> ExplainableModel:
    """Load the original network of an artifact. Raises ModelFault or DigestMismatch, which name the file."""
    manifest, digest = read_manifest(artifact)
    build = artifact.resolve()
    return ExplainableModel(manifest, digest, lambda name: read_original(models, build, name, manifest), memory_bytes)
