"""Run a Keras network without Keras: for one row of a small network, Keras's own overhead exceeds the computation.

The network is traced into its ATen operations (functionalised, not decomposed). They run one after another, and those
that do not depend on the input run once. If a trace fails or differs, the original network is used: tracing changes
the time of a pass, and nothing else.
"""

import logging
from dataclasses import replace

import torch

from whyserve.explain.game.base import Inputs
from whyserve.explain.game.network import Network
from whyserve.explain.graph.export import operations
from whyserve.model.spec import ModelSpec

log = logging.getLogger("whyserve.worker")

ROWS = 8  # rows on which the outputs of trace and network are compared
TOLERANCE = 1e-6  # relative to the largest output


def traced_network(network: Network, rows: Inputs) -> Network:
    """The network with its trace as `run` if the outputs agree on `rows`; otherwise the network itself."""
    some = {name: rows[name][:ROWS] for name in network.names}
    try:
        traced = replace(network, run=operations(network.module, tuple(some.values())))
        agree = all(_agree(network, traced, {name: x[:count] for name, x in some.items()}) for count in (1, ROWS))
    except Exception as error:
        # A trace and its operations may raise any exception. The network itself still works.
        log.debug("the network runs without a trace: %s", error)
        return network
    return traced if agree else network


def quick_network(spec: ModelSpec, network: Network, rows: Inputs) -> Network:
    """Trace the network of a Keras model. The overhead of torch code is small: such a network stays as it is."""
    return traced_network(network, rows) if spec.framework == "keras" else network


def _agree(network: Network, traced: Network, rows: Inputs) -> bool:
    with torch.no_grad():
        expected, found = network(rows), traced(rows)
    return bool((expected - found).abs().max() <= TOLERANCE * expected.abs().max().clamp_min(1e-30))
