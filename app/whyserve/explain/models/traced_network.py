"""Faster passes with the same outputs, which are compared on rows of the model.

A Keras network runs without Keras: for one row of a small network, Keras's own overhead exceeds the computation. The
network is traced into its ATen operations (functionalised, not decomposed). They run one after another, and those
that do not depend on the input run once. If a trace fails or differs, the original network is used: tracing changes
the time of a pass, and nothing else. A network of texts runs without the padding that all rows of a pass have.
"""

import logging
from contextlib import suppress
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
    return without_padding(spec, traced_network(network, rows) if spec.framework == "keras" else network, rows)


def without_padding(spec: ModelSpec, network: Network, rows: Inputs) -> Network:
    """The network with its `padding` if the outputs agree without it; otherwise the network itself.

    They are compared on texts of `rows` that are cut to a quarter and to half of their length.
    """
    texts = [item for item in spec.inputs if item.tokenizer]
    if len(texts) != 1 or not network.has_gradients:
        return network
    ((length,), last) = texts[0].shape, rows[texts[0].name][:, -1]
    ends = (last == last.mode().values).nonzero()[:ROWS, 0]
    some = {name: rows[name][ends] for name in network.names}
    beside = [item.name for item in spec.inputs if item.shape == texts[0].shape and item.is_integer]
    quick = replace(network, padding={name: int(some[name][0, -1]) for name in beside})
    for count in (length // 4, length // 2):
        short = {name: x.clone() for name, x in some.items()}
        for name, pad in quick.padding.items():
            short[name][:, count:] = pad
        with suppress(Exception):  # many networks take texts of one length only, and fail in one of many ways
            if _agree(network, quick, short):
                continue
        return network
    return quick


def _agree(network: Network, other: Network, rows: Inputs) -> bool:
    with torch.no_grad():
        expected, found = network(rows), other(other.cut(rows))
    return bool((expected - found).abs().max() <= TOLERANCE * expected.abs().max().clamp_min(1e-30))
