"""A model as the worker holds it: the original network, its background, and the methods made ready."""

from pathlib import Path
from threading import Lock

import torch

from app.builds import read_original
from app.errors import InvalidInput, ModelFault, UnsupportedMethod
from app.explain.attribution import Explainer
from app.explain.loader import ReadFile, load_network
from app.explain.methods import METHODS
from app.explain.network import Network
from app.explain.players import Players
from app.inputs import Arrays, check_arrays, player_numbers, read_npz
from app.manifest import Manifest, read_manifest
from app.outputs import Outputs
from app.spec import ModelSpec


def to_tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def load_background(spec: ModelSpec, read: ReadFile) -> dict[str, torch.Tensor]:
    """The background, (rows, *shape) by input. Raises ModelFault."""
    try:
        return to_tensors(check_arrays(spec, read_npz(read(spec.explain.background))))
    except InvalidInput as error:
        raise ModelFault(f"{spec.name}/{spec.explain.background}: {error.message}") from error


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
        self.background = load_background(self.spec, read)
        self.network: Network = load_network(self.spec, read)
        self._memory_bytes = memory_bytes
        self._ready: dict[str, Explainer] = {}
        self._lock = Lock()

    def choose(self, asked: str) -> tuple[str, str | None]:
        """The method for what was asked, and why, where that is not the method asked for.

        Raises UnsupportedMethod where the method does not fit this model.
        """
        tried = self.manifest.certificate["methods"]
        wanted = self.spec.explain.method if asked == "auto" else asked
        if wanted == "auto":
            return self.manifest.certificate["default"], self.manifest.certificate["reason"]
        if wanted not in tried or not tried[wanted]["fits"]:
            why = tried[wanted]["why"] if wanted in tried else "there is no such method"
            raise UnsupportedMethod(f'"{wanted}" cannot explain {self.spec.name}: {why}', field="method")
        return wanted, None if wanted == asked else "the method of model.toml"

    def explainer(self, method: str) -> Explainer:
        """The method, made ready at its first use and kept."""
        with self._lock:
            if method not in self._ready:
                self._ready[method] = METHODS[method](
                    self.network, self.background, self.players, memory_bytes=self._memory_bytes
                )
            return self._ready[method]

    def warm(self) -> None:
        """Make the default method ready, so that the first caller does not wait for it."""
        self.explainer(self.choose("auto")[0])


def load_model(models: Path, artifact: Path, memory_bytes: int) -> ExplainableModel:
    """Load the original of an artifact. Raises ModelFault, DigestMismatch, which name the file."""
    manifest, digest = read_manifest(artifact)
    build = artifact.resolve()
    model = ExplainableModel(manifest, digest, lambda name: read_original(models, build, name, manifest), memory_bytes)
    model.warm()
    return model
