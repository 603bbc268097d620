"""Package one network of the corpus in a process of its own: Keras has one backend per process.

    python -m tests.export.corpus.run NAME FOLDER

The model goes to FOLDER/models and FOLDER/artifacts. NAME.json gets the rows and the original's answers for them, or
the message of the refusal.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

import whyserve
from tests.export.corpus.registry import CASES
from whyserve.errors import WhyserveError

# The modules of networks. The first three import torch, so a process with TensorFlow does not import them.
OF_TORCH = ("torch_tables", "torch_signals", "torch_calls")
OF_BOTH = ("keras_models", "beside", "refused")


def load_networks() -> None:
    """Fill CASES with the networks that this process can build."""
    of_torch = OF_TORCH if os.environ["KERAS_BACKEND"] == "torch" else ()
    for module in (*of_torch, *OF_BOTH):
        importlib.import_module(f"tests.export.corpus.{module}")


def main(name: str, folder: Path) -> None:
    case, began = CASES[name], monotonic()
    take = lambda model, **arguments: whyserve.package(  # noqa: E731
        model, folder / "models" / name, artifacts=folder / "artifacts", **arguments
    )
    found: dict[str, Any]
    try:
        built = case.build(take)
    except WhyserveError as error:
        found = {"refused": error.message}
    else:
        found = {} if built is None else {"rows": built[0], "wanted": np.asarray(built[1], np.float64).tolist()}
    found["seconds"] = monotonic() - began
    (folder / f"{name}.json").write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    load_networks()
    main(sys.argv[1], Path(sys.argv[2]))
