"""A Keras network without Keras around it: at one row of a small network a call costs more than what it computes.

The network's own ATen operations, functionalised and not taken apart, run one after another, and what does not depend
on the input is computed once. Any network may stay as it is: this changes what a pass costs and nothing else.
"""

import logging
from dataclasses import replace

import torch

from whyserve.explain.game.base import Inputs
from whyserve.explain.game.network import Network
from whyserve.explain.graph.export import operations
from whyserve.model.spec import ModelSpec

log = logging.getLogger("whyserve.worker")

ROWS = 8  # on which it must give what the network does
CLOSE = 1e-6  # of the largest output


def plain(network: Network, rows: Inputs) -> Network:
    """The network with `run` set where its operations give what it gives on `rows`; else as it is."""
    some = {name: rows[name][:ROWS] for name in network.names}
    try:
        quick = replace(network, run=operations(network.module, tuple(some.values())))
        same = all(_same(network, quick, {name: x[:count] for name, x in some.items()}) for count in (1, ROWS))
    except Exception as error:
        # Whatever a trace or an operation raises: the network itself is still there.
        log.debug("a network is run as it is, for its operations cannot be: %s", error)
        return network
    return quick if same else network


def quick_network(spec: ModelSpec, network: Network, rows: Inputs) -> Network:
    """A Keras model's network made plain; torch's own code costs little."""
    return plain(network, rows) if spec.framework == "keras" else network


def _same(network: Network, quick: Network, rows: Inputs) -> bool:
    with torch.no_grad():
        own, other = network(rows), quick(rows)
    return bool((own - other).abs().max() <= CLOSE * own.abs().max().clamp_min(1e-30))
