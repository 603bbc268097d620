"""The methods by name, and what they are made ready with."""

from collections.abc import Callable

from app.explain.attribution import Explainer
from app.explain.deep import Deep
from app.explain.exact import Exact
from app.explain.gradient import Gradient
from app.explain.kernel import Kernel
from app.explain.permutation import Permutation

METHODS: dict[str, Callable[..., Explainer]] = {
    method.method: method for method in (Exact, Permutation, Deep, Gradient, Kernel)
}
