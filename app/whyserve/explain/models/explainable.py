"""A model in the worker: the original network, its backgrounds, and the prepared explanation methods."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from math import inf
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from whyserve.errors import InvalidInput, ModelFault
from whyserve.explain.game.base import Explainer
from whyserve.explain.game.device import CPU, Device
from whyserve.explain.game.masking import Kept
from whyserve.explain.game.network import Network
from whyserve.explain.models.loader import ReadFile, load_network
from whyserve.explain.models.on_scale import Layer, Logits, network_on
from whyserve.explain.models.row_games import RowGames, prepared
from whyserve.explain.models.traced_network import quick_network
from whyserve.jobs import ExplainJob, GivenBackground
from whyserve.model.arrays import check_arrays, read_npz, unpacked
from whyserve.model.bounds import Bounds
from whyserve.model.builds import read_original
from whyserve.model.choice import MethodChoice, choose_method
from whyserve.model.distances import Distances
from whyserve.model.manifest import Manifest, read_manifest
from whyserve.model.missing import Gaps
from whyserve.model.outputs import Outputs
from whyserve.model.players import Partition, RowPlayers
from whyserve.model.reasons import read_languages
from whyserve.model.rows import Arrays
from whyserve.model.scale import Scale, scale_of
from whyserve.model.spec import DEFAULT_BACKGROUND, REQUEST_BACKGROUND, ModelSpec
from whyserve.model.text import TextReader, text_readers

Background = str | GivenBackground
"""The name of one of the model's backgrounds, or the rows of a request."""

# How many methods stay prepared for backgrounds, scales and players of requests, and how many players: one user often
# explains many rows with the same ones.
KEPT_OF_REQUESTS = 4


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


class ExplainableModel:
    """One build of one model. Thread-safe."""

    def __init__(
        self, manifest: Manifest, digest: str, read: ReadFile, memory_bytes: int, device: Device = CPU
    ) -> None:
        """memory_bytes: of one pass on the CPU. device: of the network, unless it runs outside torch."""
        self.manifest, self.spec, self.digest = manifest, manifest.spec, digest
        self.outputs = Outputs(self.spec, manifest.columns)
        self.bounds = Bounds(self.spec, manifest.ranges)
        self.gaps = Gaps(self.spec, manifest.fills)
        self.reason_texts = read_languages(self.spec, read)
        self.backgrounds = {name: load_background(self.spec, read, self.gaps, name) for name in self.spec.explain.files}
        self.background = self.backgrounds[DEFAULT_BACKGROUND]
        self._original, self._memory_bytes, self._read = load_network(self.spec, read), memory_bytes, read
        self.device = device if self._original.has_gradients else CPU
        self._original.module.to(self.device.torch)
        self.scale = scale_of(self.spec)  # the default
        self._partition = lru_cache(KEPT_OF_REQUESTS)(lambda players: Partition(self.spec, json.loads(players)))
        self._own_players = json.dumps(self.manifest.players, sort_keys=True)
        self.partition = self.partition_of(None)
        self._comparisons: dict[str, tuple[Distances, np.ndarray]] = {}
        # Prepared methods, by method, background (the name of one of the model's, the digest of a request's), scale and
        # players.
        self._prepared = Kept[Explainer](inf, lambda _: 1)
        self._request_prepared = Kept[Explainer](KEPT_OF_REQUESTS, lambda _: 1)
        self._lock = Lock()

    @cached_property
    def network(self) -> Network:
        """The network, traced if that makes its passes faster. A trace takes seconds, so the first use makes it."""
        with self.device.scope():
            return quick_network(self.spec, self._original, self.device.put(self.background))

    @property
    def device_facts(self) -> dict[str, str]:
        """What an answer says of the device: its name, and that of the certificate if the certificate has another one.

        Empty if both are the CPU.
        """
        certified = self.manifest.certificate.get("device", CPU.name)
        return {
            **({} if self.device.is_cpu else {"device": self.device.name}),
            **({} if certified == self.device.torch.type else {"certified_on": certified}),
        }

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

    def partition_of(self, wanted: Mapping[str, Any] | None, *, summary: bool = False) -> Partition:
        """The players of a request; None means the model's. Raises InvalidInput.

        summary: rows are summarised, so players that differ from row to row are refused; the model's own then are the
        elements.
        """
        partition = self._partition(self._own_players if wanted is None else json.dumps(wanted, sort_keys=True))
        if summary and partition.follows_rows:
            return self.partition_of(partition.for_summary(asked=wanted is not None))
        return partition

    def choose_method(
        self,
        requested: str,
        background: Background = DEFAULT_BACKGROUND,
        *,
        samples: int | None = None,
        standard_error: float | None = None,
        scale: Scale | None = None,
        players: Mapping[str, Any] | None = None,
    ) -> MethodChoice:
        """See model.choice. Raises UnsupportedMethod."""
        is_default = {"default_background": background == DEFAULT_BACKGROUND, "default_scale": scale == self.scale}
        return choose_method(self.manifest, requested, samples, standard_error, players=players, **is_default)

    def explainer(
        self,
        method: str,
        background: Background = DEFAULT_BACKGROUND,
        scale: Scale | None = None,
        partition: Partition | None = None,
        players: Sequence[RowPlayers] | None = None,
    ) -> Explainer:
        """The prepared method. It is prepared at its first use and kept; for what requests bring, the last few.

        players: of each row to explain, if they follow the row.
        Raises UnsupportedNetwork, and InvalidInput if the rows of a request do not fit the model.
        """
        partition = partition or self.partition
        key = (method, background if isinstance(background, str) else background.sha256, scale, partition.key)
        is_own = isinstance(background, str) and scale == self.scale and partition.key == self.partition.key
        prepare = partial(self._prepare, method, background, scale, partition)
        with self._lock:
            found = (self._prepared if is_own else self._request_prepared).get(key, prepare)
        return replace(found, players=players) if isinstance(found, RowGames) and players else found

    def tensors(self, arrays: Arrays) -> dict[str, torch.Tensor]:
        """Rows of a job or of a request as the network gets them. Raises InvalidInput."""
        return to_tensors(self.gaps.filled(check_arrays(self.spec, arrays)))

    def rows_of(self, background: Background) -> dict[str, torch.Tensor]:
        """The rows of a background as the network gets them. Raises InvalidInput if they do not fit the model."""
        if isinstance(background, str):
            return self.backgrounds[background]
        return self.tensors(unpacked(background.arrays))

    def comparison(self, background: Background) -> tuple[Distances, np.ndarray]:
        """The distances to a background, and the network's columns for its rows. Kept for the model's backgrounds."""
        if isinstance(background, str) and background in self._comparisons:
            return self._comparisons[background]
        rows = self.rows_of(background)
        with torch.no_grad():
            table = self._original(self.device.put(rows)).cpu().numpy()
        made = Distances(self.spec, {name: each.numpy() for name, each in rows.items()}), table
        if isinstance(background, str):
            self._comparisons[background] = made
        return made

    def _prepare(self, method: str, background: Background, scale: Scale | None, partition: Partition) -> Explainer:
        rows, of_network = self.rows_of(background), self.device.put(self.background)
        with self.device.scope():
            network = network_on(self.spec, self.network, scale, self.manifest.ending, of_network)
        memory_bytes = self.device.pass_bytes(self._memory_bytes)
        texts = self.texts if partition.absent.keys() & partition.texts else None
        return prepared(
            method, network, rows, self.spec, partition, memory_bytes=memory_bytes, texts=texts, device=self.device
        )

    def describe_background(self, background: Background, partition: Partition) -> dict[str, Any]:
        """The description of a background in a response. absent: by input, its reference row instead of those rows."""
        name, (rows, digest) = (
            (background, self.manifest.background(background))
            if isinstance(background, str)
            else (REQUEST_BACKGROUND, (background.rows, background.sha256))
        )
        rows = 1 if partition.has_one_reference else rows
        absent = {"absent": partition.absent} if partition.absent else {}
        return {"name": name, "rows": rows, "sha256": digest, **absent}

    def warm(self) -> None:
        """Trace the network and prepare the default method, so that the first request does not wait for them."""
        self.explainer(self.choose_method("auto", scale=self.scale).method, scale=self.scale)


def load_model(models: Path, artifact: Path, memory_bytes: int, device: Device = CPU) -> ExplainableModel:
    """Load the original network of an artifact. Raises ModelFault or DigestMismatch, which name the file."""
    manifest, digest = read_manifest(artifact)
    build = artifact.resolve()
    read = partial(read_original, models, build, manifest=manifest)
    return ExplainableModel(manifest, digest, read, memory_bytes, device)
