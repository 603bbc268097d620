"""Run a stage: `python -m whyserve.export.stages MODULE TASK.json …`; the module has a function `export`."""

import gc
import sys
from importlib import import_module

from whyserve.export.stages.stage import main
from whyserve.imports import importing, leave_out_imported
from whyserve.model.keras_file import OPTIONAL

# New objects between two collections. An export makes large graphs of small objects: with Python's default of 700,
# collections take a sixth of its processor time.
OBJECTS = 50_000

if __name__ == "__main__":
    with importing(without=OPTIONAL):
        stage = import_module(sys.argv[1])
    leave_out_imported()
    gc.set_threshold(OBJECTS)
    main(stage.export, sys.argv[2:])
