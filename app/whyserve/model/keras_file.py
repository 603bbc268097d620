"""A .keras file, opened on whichever backend the process has chosen."""

import tempfile
from pathlib import Path

from whyserve.errors import ModelFault
from whyserve.model.spec import KERAS_FILE, ModelSpec

HDF5 = b"\x89HDF\r\n\x1a\n"


def open_keras(content: bytes):  # type: ignore[no-untyped-def]  # Keras is untyped, and either backend's
    """Parse a .keras file, on whichever backend the process has. Raises ValueError, also for HDF5 and for Lambda layers
    with Python code.
    """
    if content.startswith(HDF5):
        raise ValueError('is HDF5 by another name, which can hold code; save the model anew: model.save("model.keras")')
    import keras  # noqa: PLC0415

    # Keras reads a path only. A copy of the bytes whose digest was checked cannot change underneath it.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, KERAS_FILE)
        path.write_bytes(content)
        return keras.models.load_model(path, compile=False, safe_mode=True)


def keras_order(spec: ModelSpec, names: list[str]) -> tuple[int, ...]:
    """For each input of a Keras model, its position among model.toml's. Raises ModelFault."""
    positions = {item.name: position for position, item in enumerate(spec.inputs)}
    if len(names) == len(positions) == 1:
        return (0,)
    if set(names) != set(positions):
        raise ModelFault(
            f"{spec.name}/{KERAS_FILE}: its inputs are {', '.join(names)}; model.toml has {', '.join(positions)}"
        )
    return tuple(positions[name] for name in names)
