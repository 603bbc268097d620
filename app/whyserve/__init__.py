"""Serve a Keras or PyTorch model over REST and say, for every prediction, why.

In a notebook: `Explainer` explains a network of this process, `load` a model folder, `Client` asks a service, and
`package` makes a model folder of a trained network. Each name is imported when it is first used, so that
`import whyserve` loads neither torch, keras, fastapi, onnxruntime nor shap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whyserve.export.package.backgrounds import medoids
    from whyserve.export.package.package import package
    from whyserve.notebook.answers import to_shap
    from whyserve.notebook.client import Client
    from whyserve.notebook.explainer import Explainer
    from whyserve.notebook.explanation import Explanation
    from whyserve.notebook.folder import load

__version__ = "0.1.0"

__all__ = ["Client", "Explainer", "Explanation", "__version__", "load", "medoids", "package", "to_shap"]

_HOMES = {
    "Client": "whyserve.notebook.client",
    "Explainer": "whyserve.notebook.explainer",
    "Explanation": "whyserve.notebook.explanation",
    "load": "whyserve.notebook.folder",
    "medoids": "whyserve.export.package.backgrounds",
    "package": "whyserve.export.package.package",
    "to_shap": "whyserve.notebook.answers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'whyserve' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
