"""A Keras model with Python code of its own → a torch program, which needs no code of the caller.

On the torch backend a Keras model is a torch module. A model on another backend is copied to a process in which Keras
runs on torch, and the caller's own model says what the copy must return.
"""

import inspect
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np

from whyserve.errors import ModelFault
from whyserve.export.comparison import BOUND, largest_gap
from whyserve.export.package.keras_operations import OPERATIONS
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.stages.stage import Table, Task, run_stage
from whyserve.model.spec import NETWORK_FILE, WEIGHTS_FILE

MODEL_FILE = "model.pkl"
MODULE = "whyserve.export.package.keras_child"


@dataclass(frozen=True, slots=True)
class KerasCode:
    """A Keras model with Python code. names: of its inputs. call: its arguments, with names in the place of tensors.

    dtypes, shapes, front: as of a KerasModel; empty for a subclassed model, which does not state them.
    """

    model: Any
    names: tuple[str, ...]
    call: tuple[Any, ...]
    dtypes: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    front: Any = None
    choice: OutputChoice = field(default_factory=OutputChoice)
    framework: ClassVar[str] = "torch"
    origin: ClassVar[str] = "a Keras model with Python code, exported through Keras's torch backend"
    dtype: ClassVar[str] = "float32"
    no_front: ClassVar[str] = (
        "preprocess cannot be put in front of a Keras model with Python code; make the scaling a layer of the model,"
        " such as keras.layers.Normalization(mean=scaler.mean_, variance=scaler.var_)"
    )

    @classmethod
    def of_subclass(cls, model: Any) -> "KerasCode":
        """Raises ModelFault for a model that has not been called yet."""
        called = getattr(model, "_build_shapes_dict", None)
        if not model.built or not called:
            raise ModelFault(
                "the Keras model has no inputs, because it was not called yet; call it on a few rows first, or start it"
                " with keras.Input(shape, name=...)"
            )
        parameters = inspect.signature(model.call).parameters.values()
        names = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
        names = [name for name in names if name not in {"training", "mask"}]
        first = next(iter(called.values()))
        call: tuple[Any, ...] = tuple(names)
        if len(names) == 1 and isinstance(first, Mapping):
            call = ({key: str(key) for key in first},)
        elif len(names) == 1 and isinstance(first, list | tuple) and not isinstance(first[0], int | None):
            call = ([f"{names[0]}_{number}" for number in range(len(first))],)
        return cls(model, tuple(map(str, keras.tree.flatten(call))), call)

    def with_output(self, choice: OutputChoice) -> "KerasCode":
        """The model with one tensor as its output, (rows,) or (rows, outputs)."""
        return replace(self, choice=choice)

    def run(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The output of the caller's own model for rows, (rows, …) by input. Raises what Keras raises."""
        table: np.ndarray = keras.ops.convert_to_numpy(self._called(self.model, arrays))
        return table

    def _called(self, model: Any, given: Mapping[str, Any]) -> Any:
        tensors = {name: keras.ops.convert_to_tensor(x) for name, x in given.items()}
        result = model(*keras.tree.map_structure(lambda name: given[name], self.call), training=False)
        kind = type(next(iter(tensors.values()))).__mro__[-2]  # the tensors of one backend have several classes
        return self.choice.of(result, tensors, replace(OPERATIONS, tensor=kind))

    def files(self, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """The content of network.py and weights.safetensors. arrays: rows to compare on. Raises ModelFault."""
        if keras.backend.backend() == "torch":
            return self._program(arrays)
        from whyserve.export.package.keras_copy import copied  # noqa: PLC0415  # needs a package of the export

        with tempfile.TemporaryDirectory(prefix="whyserve-") as folder:
            place = Path(folder, "copy")
            place.mkdir()
            task = Task("", str(place), {}, {}, 0)
            (place / MODEL_FILE).write_bytes(copied(replace(self, front=None)))
            task.save_rows(dict(arrays))
            run_stage(MODULE, [task], "torch")
            if fault := task.fault():
                raise ModelFault(fault)
            share, row, _ = largest_gap(task.table(Table.NETWORK), self.run(arrays))
            if share > BOUND:
                raise ModelFault(
                    f"the model on Keras's torch backend differs from yours by {share:.1e} of the output's scale on row"
                    f" {row} of the background; at most {BOUND:.0e} is allowed: does a layer depend on the backend?"
                )
            return {name: (place / name).read_bytes() for name in (NETWORK_FILE, WEIGHTS_FILE)}

    def _program(self, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """torch.export of a model on the torch backend."""
        # Never in a process in which Keras runs on another backend.
        from whyserve.explain.graph.export import traceable  # noqa: PLC0415
        from whyserve.export.package.torch import TorchModel  # noqa: PLC0415
        from whyserve.export.package.torch_operations import Wrapped  # noqa: PLC0415

        def forward(model: Any, *tensors: Any) -> Any:
            return self._called(model, dict(zip(self.names, tensors, strict=True)))

        with traceable(self.model):
            return TorchModel(Wrapped(self.model, forward), self.names).files(arrays)
