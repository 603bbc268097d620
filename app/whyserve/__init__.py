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

# The module of each name, and the extra whose packages it needs.
_HOMES = {
    "Client": ("whyserve.notebook.client", "client"),
    "Explainer": ("whyserve.notebook.explainer", "notebook"),
    "Explanation": ("whyserve.notebook.explanation", "client"),
    "load": ("whyserve.notebook.folder", "export,notebook"),
    "medoids": ("whyserve.export.package.backgrounds", "notebook"),
    "package": ("whyserve.export.package.package", "export"),
    "to_shap": ("whyserve.notebook.answers", "client"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'whyserve' has no attribute {name!r}")
    home, extra = _HOMES[name]
    try:
        value = getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"whyserve.{name} needs {error.name}, which is not installed: pip install 'whyserve[{extra}]'",
            name=error.name,
        ) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
