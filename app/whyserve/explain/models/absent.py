"""What an absent element is instead of the background's: one reference row, or a text without the absent tokens."""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from whyserve.errors import InvalidInput, UnsupportedNetwork
from whyserve.explain.game.network import Network
from whyserve.model.input_spec import InputSpec
from whyserve.model.methods import METHODS, NEEDS_PLACES
from whyserve.model.players import Partition
from whyserve.model.text import TextReader
from whyserve.model.vocabulary import ABSENT_TOKENS, Absent

# The width of the blur, as a share of the longest side or of the number of steps.
BLUR = 1 / 8


def with_ids(partition: Partition, texts: Mapping[str, TextReader] | None) -> Partition:
    """The same players, with the id of an absent token for "mask" and "removal". texts: the readers of those inputs.

    Raises InvalidInput if the tokenizer has no mask token.
    """
    found, ids = copy(partition), dict(partition.absent)
    for name, value in partition.absent.items():
        if texts and value in ABSENT_TOKENS:
            token = texts[name].mask if value == "mask" else texts[name].pad
            if token is None:
                place = f"players.{name}.absent"
                raise InvalidInput(f'"{place}": the tokenizer has no mask token; send "removal"', field=place)
            ids[name] = token
    found.absent = ids
    return found


def reference_row(item: InputSpec, absent: Absent, row: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
    """(1, *shape): the values of an input whose players are all absent.

    blur: the picture or series of the row, blurred. mean: the mean of the background, element by element. A number, or
    the id of a token: the same for each element.
    """
    if absent == "mean":
        return background.mean(0, keepdim=True)
    if absent == "blur":
        axes, values = item.image_axes(), row[0].double().numpy()
        channels = axes[2] if axes else 1  # a series has its channels behind the steps
        sides = [axis for axis in range(values.ndim) if axis != channels] if axes else [0]
        width = BLUR * max(values.shape[axis] for axis in sides)
        blurred = gaussian_filter(
            values, [width if axis in sides else 0 for axis in range(values.ndim)], mode="nearest"
        )
        return torch.from_numpy(np.ascontiguousarray(blurred)).to(row.dtype)[None]
    assert not isinstance(absent, str), "with_ids has replaced the words of texts"
    return torch.full_like(row, absent)


def removing(network: Network, partition: Partition, texts: Mapping[str, TextReader] | None, method: str) -> Network:
    """The network for texts with removed tokens.

    Raises UnsupportedNetwork for a method that needs gradients.
    """
    for name, value in partition.absent.items():
        if texts and value == "removal":
            if METHODS[method].gradients:
                raise UnsupportedNetwork(NEEDS_PLACES)
            module = _Closed(network.run or network.module, network.names.index(name), texts[name])
            network = replace(network, module=module, run=None, has_gradients=False)
    return network


class _Closed(nn.Module):
    """Closes the gaps in a text: all padding comes after the other tokens, or before them."""

    def __init__(self, network: Callable[..., object], at: int, reader: TextReader) -> None:
        """network: a function of all inputs. at: the number of the text among them."""
        super().__init__()
        self.network, self.at, self.reader = network, at, reader

    def forward(self, *inputs: torch.Tensor) -> object:
        ids = inputs[self.at]
        is_pad = ids == self.reader.pad
        order = torch.sort(is_pad, dim=1, descending=self.reader.pad_left, stable=True).indices
        return self.network(*inputs[: self.at], ids.gather(1, order), *inputs[self.at + 1 :])
