"""ONNX Runtime, silent: as built it writes a device id under the home folder and sends usage data to its maker.

Import it from here. The variable is read when the library is loaded, so it has to be set before.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]
