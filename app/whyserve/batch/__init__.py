"""Explain tables that are larger than one machine, on an engine that distributes them.

`explainer` makes a function of Arrow tables, for Ray Data and Spark. `Explainer` is its class, for Ray's actors.
`whyserve explain --engine ray` is `whyserve.batch.on_ray`.
"""

from whyserve.batch.arrow import Explainer, explainer

__all__ = ["Explainer", "explainer"]
