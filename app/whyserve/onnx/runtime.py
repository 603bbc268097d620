"""ONNX Runtime without telemetry. By default it writes a device id to the home folder and sends usage data.

Always import it from here: the library reads the variable when it is loaded, so the variable must be set before.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]
