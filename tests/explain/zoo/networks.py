"""All cases of the zoo, and a network saved and loaded with torch.export."""

import io
import warnings

import torch
from torch import nn

from tests.explain.zoo import dense, kerasnets, sequence, trained, unusual, vision
from tests.explain.zoo.case import Case, Lambda
from whyserve.explain.game.network import Network

CASES: list[Case] = [
    *dense.CASES, *vision.CASES, *sequence.CASES, *unusual.CASES, *kerasnets.CASES, *trained.CASES,
]  # fmt: skip
FEW: list[Case] = [case for case in CASES if case.few]
BY_NAME: dict[str, Case] = {case.name: case for case in CASES}


def through_file(case: Case) -> Network:
    """The network of the case after export, save and load."""
    network = case.network()
    background, _ = case.rows()
    batch = torch.export.Dim("batch", min=2)
    example = tuple(background[name] for name in network.names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own layers warn while they are traced
        program = torch.export.export(network.module, example, dynamic_shapes=_dynamic(network.module, example, batch))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    module: nn.Module = torch.export.load(file).module()
    return Network(module, network.names)


def _dynamic(module: nn.Module, example: tuple[torch.Tensor, ...], batch: object) -> tuple[object, ...]:
    each = tuple({0: batch} for _ in example)
    # A module with *inputs takes its dynamic shapes as one tuple.
    return (each,) if isinstance(module, kerasnets.OfKeras | Lambda) else each


assert len(BY_NAME) == len(CASES), "the names of the cases are unique"
