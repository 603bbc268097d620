"""A model in the worker: the original network, its backgrounds, and the prepared explanation methods."""

from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from whyserve.errors import InvalidInput, ModelFault
from whyserve.explain.game.base import Explainer
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.registry import EXPLAINERS
from whyserve.explain.models.loader import ReadFile, load_network
from whyserve.explain.models.on_scale import Layer, Logits, network_on
from whyserve.explain.models.traced_network import quick_network
from whyserve.jobs import ExplainJob, GivenBackground
from whyserve.model.arrays import check_arrays, read_npz
from whyserve.model.bounds import Bounds
from whyserve.model.builds import read_original
from whyserve.model.choice import MethodChoice, choose_method
from whyserve.model.manifest import Manifest, read_manifest
from whyserve.model.missing import Gaps
from whyserve.model.outputs import Outputs
from whyserve.model.players import ByKey, player_numbers
from whyserve.model.rows import Arrays
from whyserve.model.scale import Scale, scale_of
from whyserve.model.spec import DEFAULT_BACKGROUND, REQUEST_BACKGROUND, ModelSpec
from whyserve.model.text import TextReader, text_readers

Background = str | GivenBackground
"""The name of one of the model's backgrounds, or the rows of a request."""

# How many methods stay prepared for the backgrounds and scales of requests: one user often explains many rows with one.
KEPT_REQUESTS = 2
_Key = tuple[str, str, Scale | None]


def to_tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def load_background(
    spec: ModelSpec, read: ReadFile, gaps: Gaps, name: str = DEFAULT_BACKGROUND
) -> dict[str, torch.Tensor]:
    """A background as the network gets it, (rows, *shape) per input. Raises ModelFault, which names the file."""
    file = spec.explain.files[name]
    try:
        return to_tensors(gaps.filled(check_arrays(spec, read_npz(read(file)))))
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
        self.gaps = Gaps(self.spec, manifest.fills)
        self.backgrounds = {name: load_background(self.spec, read, self.gaps, name) for name in self.spec.explain.files}
        self.background = self.backgrounds[DEFAULT_BACKGROUND]
        self._original, self._memory_bytes, self._read = load_network(self.spec, read), memory_bytes, read
        self.scale = scale_of(self.spec)  # the default
        # Prepared methods, by method, background (the name of one of the model's, the digest of a request's) and scale.
        self._prepared: dict[_Key, Explainer] = {}
        self._request_prepared: OrderedDict[_Key, Explainer] = OrderedDict()
        self._lock = Lock()

    @cached_property
    def network(self) -> Network:
        """The network, traced if that makes its passes faster. A trace takes seconds, so the first use makes it."""
        return quick_network(self.spec, self._original, self.background)

    @cached_property
    def texts(self) -> Mapping[str, TextReader]:
        """The reader of each text input, for rows of a file. The rows of a job are already token ids."""
        return text_readers(self.spec, self._read)

    @cached_property
    def logits(self) -> Network:
        """The network up to its logits, if it ends in softmax or sigmoid."""
        return Network(Logits(self._original.module), self._original.names)

    def scored(self, job: ExplainJob) -> np.ndarray:
        """The served outputs of a job on its scale, (rows, columns)."""
        table = (job.logits or job.served).unpack()
        if job.scale is None:
            return table
        layer = Layer(self.spec, job.scale, self.manifest.ending, table.shape[1])
        scored: np.ndarray = layer(torch.tensor(table)).numpy()
        return scored

    def choose_method(
        self,
        requested: str,
        background: Background = DEFAULT_BACKGROUND,
        *,
        samples: int | None = None,
        standard_error: float | None = None,
        scale: Scale | None = None,
    ) -> MethodChoice:
        """See model.choice. Raises UnsupportedMethod."""
        is_default = {"default_background": background == DEFAULT_BACKGROUND, "default_scale": scale == self.scale}
        return choose_method(self.manifest, requested, samples, standard_error, **is_default)

    def explainer(
        self, method: str, background: Background = DEFAULT_BACKGROUND, scale: Scale | None = None
    ) -> Explainer:
        """The prepared method. It is prepared at its first use and kept; for backgrounds of requests and other scales
        than the model's, the last few.

        Raises UnsupportedNetwork, and InvalidInput if the rows of a request do not fit the model.
        """
        is_own = isinstance(background, str)
        key = (method, background if isinstance(background, str) else background.sha256, scale)
        with self._lock:
            kept = self._prepared if is_own and scale == self.scale else self._request_prepared
            if key not in kept:
                kept[key] = self._prepare(method, background, scale)
            if kept is self._request_prepared:
                self._request_prepared.move_to_end(key)
                if len(kept) > KEPT_REQUESTS:
                    self._request_prepared.popitem(last=False)
            return kept[key]

    def tensors(self, arrays: Arrays) -> dict[str, torch.Tensor]:
        """Rows of a job or of a request as the network gets them. Raises InvalidInput."""
        return to_tensors(self.gaps.filled(check_arrays(self.spec, arrays)))

    def _prepare(self, method: str, background: Background, scale: Scale | None) -> Explainer:
        if isinstance(background, str):
            rows = self.backgrounds[background]
        else:
            rows = self.tensors({name: packed.unpack() for name, packed in background.arrays.items()})
        network = network_on(self.spec, self.network, scale, self.manifest.ending, self.background)
        return EXPLAINERS[method](network, rows, self.players, memory_bytes=self._memory_bytes)

    def describe_background(self, background: Background) -> dict[str, Any]:
        """The description of a background in a response."""
        if isinstance(background, str):
            rows, digest = self.manifest.background(background)
            return {"name": background, "rows": rows, "sha256": digest}
        return {"name": REQUEST_BACKGROUND, "rows": background.rows, "sha256": background.sha256}

    def warm(self) -> None:
        """Trace the network and prepare the default method, so that the first request does not wait for them."""
        self.explainer(self.choose_method("auto", scale=self.scale).method, scale=self.scale)


def load_model(models: Path, artifact: Path, memory_bytes: int) -> ExplainableModel:
    """Load the original network of an artifact. Raises ModelFault or DigestMismatch, which name the file."""
    manifest, digest = read_manifest(artifact)
    build = artifact.resolve()
    return ExplainableModel(manifest, digest, lambda name: read_original(models, build, name, manifest), memory_bytes)
