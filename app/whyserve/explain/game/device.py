"""The device of the networks and of all passes: the CPU, or one CUDA device.

A method on a device gets and returns tensors of the CPU. Inside, the device is torch's default device, so every tensor
that a method or a network makes is on it. On the CPU, nothing changes and nothing is added.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch

from whyserve.errors import ConfigurationError, UnsupportedNetwork
from whyserve.explain.game.base import Attribution, Explainer, Inputs, Limits
from whyserve.explain.game.players import Players

# The share of a device's free memory that the activations of one pass may take. Results, masks and the background's
# activations need the rest.
FREE_SHARE = 0.5
# The most network rows of one pass on a device: larger passes are not faster, and other jobs wait longer for their end.
MOST_ROWS = 1 << 16
# How torch reports that the memory of the CPU is not enough.
NO_CPU_MEMORY = "can't allocate memory"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Device:
    """A device of torch. name: as in answers, such as "cuda (NVIDIA H100)"; "cpu" for the CPU."""

    torch: torch.device
    name: str

    @property
    def is_cpu(self) -> bool:
        return self.torch.type == "cpu"

    def scope(self) -> AbstractContextManager[object]:
        """Makes the device torch's default device. On the CPU it does nothing, because the context takes time."""
        return nullcontext() if self.is_cpu else self.torch

    def put(self, inputs: Inputs) -> Inputs:
        """The same inputs on the device."""
        return inputs if self.is_cpu else {name: x.to(self.torch) for name, x in inputs.items()}

    def pass_bytes(self, cpu_bytes: int) -> int:
        """The memory of one pass: `cpu_bytes` on the CPU, otherwise a share of what is free on the device."""
        if self.torch.type != "cuda":
            return cpu_bytes
        free, _ = torch.cuda.mem_get_info(self.torch)
        unused = torch.cuda.memory_reserved(self.torch) - torch.cuda.memory_allocated(self.torch)
        return int(FREE_SHARE * (free + unused))

    def prepared(self, make: Callable[[Inputs, Players], Explainer], rows: Inputs, players: Players) -> Explainer:
        """make(background, players), on the device. rows: the background, on the CPU.

        Raises what `make` raises, and UnsupportedNetwork if the memory of the device is not enough for one row.
        """
        return make(rows, players) if self.is_cpu else OnDevice(self, make, rows, players)


CPU = Device(torch.device("cpu"), "cpu")


def open_device(wanted: str) -> Device:
    """The device of WHYSERVE_DEVICE: cpu, cuda, cuda:N, or auto for CUDA where it is available.

    Call it before Keras is imported: Keras chooses a device at its import, and may choose another one.
    Raises ConfigurationError if the device is not available.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        wanted = "cuda" if available else "cpu"
    if wanted != "cpu" and not available:
        reason = "torch finds no CUDA device" if torch.version.cuda else f"torch {torch.__version__} has no CUDA"
        raise ConfigurationError(f"WHYSERVE_DEVICE={wanted}: {reason}; set cpu or auto, or install a CUDA build")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= available:
        raise ConfigurationError(f"WHYSERVE_DEVICE={wanted}: this machine has cuda:0 to cuda:{available - 1}")
    os.environ["KERAS_TORCH_DEVICE"] = wanted
    if device.type == "cpu":
        return CPU
    torch.cuda.set_device(device)
    # TF32 keeps ten bits of a factor. Attributions are differences of outputs and need all bits of float32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return Device(device, f"cuda ({torch.cuda.get_device_name(device)})")


class OnDevice:
    """A method that is prepared and run on a device. See Explainer; the rows and the results are on the CPU."""

    def __init__(
        self, device: Device, make: Callable[[Inputs, Players], Explainer], background: Inputs, players: Players
    ) -> None:
        self.device = device
        self.method = self._run(lambda: make(device.put(background), players.on(device.torch)))

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """As Explainer.explain. Raises UnsupportedNetwork too if the memory of the device is not enough for one row."""
        report, on_error = limits.on_progress, limits.on_error
        # A callback may run other jobs, which begin on the CPU.
        limits = replace(
            limits,
            on_progress=report and (lambda share: on_cpu(lambda: report(share))),
            on_error=on_error and (lambda error: on_cpu(lambda: on_error(error))),
        )
        found = self._run(lambda: self.method.explain(self.device.put(rows), outputs.to(self.device.torch), limits))
        parts: dict[str, Any] = {each.name: _on_cpu(getattr(found, each.name)) for each in fields(found)}
        return Attribution(**parts)

    def _run(self, run: Callable[[], T]) -> T:
        try:
            with self.device.scope():
                return run()
        except torch.OutOfMemoryError as error:
            raise UnsupportedNetwork(
                f"one row needs more memory than {self.device.name} has free; use another method, or another device"
            ) from error


def _on_cpu(part: Any) -> Any:
    return part.cpu() if isinstance(part, torch.Tensor) else part


def on_cpu(make: Callable[[], T]) -> T:
    """What `make` returns, with the CPU as torch's default device."""
    with CPU.torch:
        return make()


class Halving:
    """The base class of what runs a network in passes: a pass that takes too much memory is run in two halves.

    chunk_rows: the maximum number of network rows in one pass. It becomes smaller after such a pass.
    """

    chunk_rows: int

    def in_halves(self, part: slice, run: Callable[[slice], T], join: Callable[[T, T], T], *, rows_each: int = 1) -> T:
        """run(part); if the memory is not enough, the joined results of the two halves of `part`, each in the same way.

        rows_each: the network rows of one element of `part`.
        Raises what `run` raises, also the error of the memory if `part` has only one element.
        """
        count = part.stop - part.start
        try:
            return run(part)
        except RuntimeError as error:  # OutOfMemoryError is one
            if not is_out_of_memory(error) or count < 2:
                raise
        # Outside of the handler: the exception holds the tensors of the failed pass.
        torch.cuda.empty_cache()
        middle = part.start + count // 2
        self.chunk_rows = min(self.chunk_rows, (count - count // 2) * rows_each)
        halves = (slice(part.start, middle), slice(middle, part.stop))
        one, other = (self.in_halves(half, run, join, rows_each=rows_each) for half in halves)
        return join(one, other)


def is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or NO_CPU_MEMORY in str(error)


def rows_in(memory_bytes: int, row_bytes: int, in_cache: int, on: torch.device) -> int:
    """The maximum number of rows in one pass: what fits the memory, and `in_cache` rows on the CPU.

    A CUDA device has no such cache, and is only busy with large passes.
    """
    return min(max(1, memory_bytes // row_bytes), in_cache if on.type == "cpu" else MOST_ROWS)
