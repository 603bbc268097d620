"""The process in which Keras runs on torch: the copy of a Keras model becomes a torch program."""

import pickle
import traceback

import keras

from whyserve.errors import ModelFault, WhyserveError, first_line
from whyserve.export.package.keras_code import MODEL_FILE, KerasCode
from whyserve.export.package.keras_copy import Foreign
from whyserve.export.stages.stage import Table, Task


def _words(error: Exception) -> str:
    """What is wrong with the copy, with the layer in which it happened."""
    frames = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    layers = [each for each in frames if isinstance(each, keras.layers.Layer)]
    where = f'layer "{layers[-1].name}" ({type(layers[-1]).__name__})' if layers else "the Keras model"
    if Foreign.called:
        return f"{where} calls {Foreign.called}, which an exported model does not have; use keras.ops instead"
    return f"{where} does not run on Keras's torch backend: {first_line(error)}; use layers of Keras and keras.ops"


def export(task: Task) -> None:
    keras.config.disable_traceback_filtering()  # frames name the layer
    try:
        # The file comes from the process of the caller, which started this one.
        code: KerasCode = pickle.loads(task.path(MODEL_FILE).read_bytes())  # noqa: S301
        arrays = task.rows()
        task.save(Table.NETWORK, code.run(arrays))
        for name, content in code.files(arrays).items():
            task.path(name).write_bytes(content)
    except WhyserveError:
        raise
    except Exception as error:  # the layers are the caller's own
        raise ModelFault(_words(error)) from error
