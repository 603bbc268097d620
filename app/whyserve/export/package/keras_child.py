"""The process in which Keras runs on torch: the copy of a Keras model becomes a torch program.

python -m whyserve.export.package.keras_child FOLDER
"""

import pickle
import sys
import traceback
from pathlib import Path

import keras
import numpy as np

from whyserve.errors import WhyserveError, first_line
from whyserve.export.package.keras_code import MODEL_FILE, OUTPUT_FILE, KerasCode, program_files
from whyserve.export.package.keras_copy import Foreign
from whyserve.export.stages.stage import FAULT_FILE, ROWS_FILE, end_with_parent
from whyserve.model.arrays import read_npz


def _words(error: Exception) -> str:
    """What is wrong with the copy, with the layer in which it happened."""
    frames = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    layers = [each for each in frames if isinstance(each, keras.layers.Layer)]
    where = f'layer "{layers[-1].name}" ({type(layers[-1]).__name__})' if layers else "the Keras model"
    if Foreign.called:
        return f"{where} calls {Foreign.called}, which an exported model does not have; use keras.ops instead"
    return f"{where} does not run on Keras's torch backend: {first_line(error)}; use layers of Keras and keras.ops"


def main(folder: Path) -> None:
    keras.config.disable_traceback_filtering()  # frames name the layer
    try:
        # The file comes from the process of the caller, which started this one.
        model, names, call, choice = pickle.loads((folder / MODEL_FILE).read_bytes())  # noqa: S301
        arrays = read_npz((folder / ROWS_FILE).read_bytes())
        np.save(folder / OUTPUT_FILE, KerasCode(model, names, call, choice=choice).run(arrays))
        for name, content in program_files(model, names, call, choice, arrays).items():
            (folder / name).write_bytes(content)
    except WhyserveError as error:
        (folder / FAULT_FILE).write_text(error.message)
    except Exception as error:  # the layers are the caller's own
        (folder / FAULT_FILE).write_text(_words(error))


if __name__ == "__main__":
    end_with_parent(Path(sys.argv[1]))
    main(Path(sys.argv[1]))
