"""The class of each explanation method, by name."""

from collections.abc import Callable

from whyserve.explain.game.base import Explainer
from whyserve.explain.methods.deep.deep import Deep
from whyserve.explain.methods.exact import Exact
from whyserve.explain.methods.gradient import Gradient
from whyserve.explain.methods.kernel import Kernel
from whyserve.explain.methods.owen.owen import Owen
from whyserve.explain.methods.permutation.permutation import Permutation

# In the order of model/methods.METHODS.
EXPLAINERS: dict[str, Callable[..., Explainer]] = {
    method.method: method for method in (Exact, Permutation, Deep, Gradient, Kernel, Owen)
}
