"""Open a .keras file on the Keras backend of the process."""

import sys
import tempfile
from pathlib import Path

from whyserve.errors import ModelFault
from whyserve.imports import importing
from whyserve.model.spec import KERAS_FILE, ModelSpec

# Also the message for a folder that has model.h5 instead of model.keras.
HDF5_REFUSED = 'HDF5 can hold code and is not read; save the model again: model.save("model.keras")'
# For Keras's plots, wrappers and data frames. They take half of the time of importing Keras. A worker and the stages of
# an export do not use them; the program of somebody who imports Whyserve may.
OPTIONAL = ("matplotlib", "pandas", "sklearn")
HDF5 = b"\x89HDF\r\n\x1a\n"


def open_keras(content: bytes):  # type: ignore[no-untyped-def]  # Keras is untyped, and either backend's
    """Load a Keras model. Raises ValueError, also for an HDF5 file and for a Lambda layer with Python code."""
    if content.startswith(HDF5):
        raise ValueError(f"the file has the HDF5 format. {HDF5_REFUSED}")
    with importing(without=OPTIONAL if "whyserve.processes.worker" in sys.modules else ()):
        import keras  # noqa: PLC0415

    # Keras reads only from a path. The copy has the bytes whose digest was checked, and no other process changes it.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, KERAS_FILE)
        path.write_bytes(content)
        return keras.models.load_model(path, compile=False, safe_mode=True)


def keras_order(spec: ModelSpec, names: list[str]) -> tuple[int, ...]:
    """For each input of a Keras model, the position of the same input in model.toml. Raises ModelFault."""
    positions = {item.name: position for position, item in enumerate(spec.inputs)}
    if len(names) == len(positions) == 1:
        return (0,)
    if set(names) != set(positions):
        raise ModelFault(
            f"{spec.name}/{KERAS_FILE}: the model has the inputs {', '.join(names)}, but model.toml lists"
            f" {', '.join(positions)}; use the same names"
        )
    return tuple(positions[name] for name in names)
