"""What is absent: reference rows, masked tokens, and texts without the absent tokens."""

from itertools import permutations

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from torch import nn

from tests.explain.models.test_row_games import BACKGROUND, PARTITIONS, ROW, SPEC
from tests.model.test_players import TEXT, spec_of
from whyserve.errors import InvalidInput, UnsupportedNetwork
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.models.absent import reference_row
from whyserve.explain.models.row_games import game_background, prepared
from whyserve.model.players import Partition
from whyserve.model.text import TextReader

WORDS = ["an", "old", "grey", "ferry"]
TEXT_SPEC = spec_of(TEXT)


def reader(*special, side="right"):
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(["[UNK]", *WORDS])}, unk_token="[UNK]"))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("[CLS]", "[PAD]", *special)])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    cls, pad = map(tokenizer.token_to_id, ("[CLS]", "[PAD]"))
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", cls)])
    tokenizer.enable_padding(direction=side, pad_id=pad, pad_token="[PAD]")
    return TextReader(TEXT_SPEC.inputs[0], tokenizer.to_str().encode(), "m/tokenizer.json")


class Order(nn.Module):
    """A network in which the place of each token matters."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.word = nn.Embedding.from_pretrained(torch.randn(9, 3, generator=generator))
        self.layer = nn.Parameter(torch.randn(18, 2, generator=generator))

    def forward(self, t):
        return torch.tanh(self.word(t).flatten(1) @ self.layer)


NETWORK = Network(Order().eval().requires_grad_(False), ("t",))


def explained(method, texts, absent, samples=64):
    row = {"t": torch.tensor([texts.ids(" ".join(WORDS))])}
    partition = Partition(TEXT_SPEC, {"t": {"words": True, "absent": absent}})
    background = {"t": torch.zeros(3, 6, dtype=torch.int64)}
    made = prepared(method, NETWORK, background, TEXT_SPEC, partition, texts={"t": texts})
    return made.explain(row, torch.tensor([[0, 1]]), Limits(samples=samples))


def by_definition(value):
    """(outputs, words): the mean change when each word joins those that came before it, over all orders."""
    total, orders = torch.zeros(2, len(WORDS), dtype=torch.float64), list(permutations(range(len(WORDS))))
    for order in orders:
        for place, player in enumerate(order):
            total[:, player] += value({*order[: place + 1]}) - value({*order[:place]})
    return total / len(orders)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("method", ["exact", "permutation", "owen"])
def test_a_removed_word_is_as_if_the_text_was_without_it(method, side):
    texts = reader(side=side)

    def value(members):
        ids = texts.ids(" ".join(word for at, word in enumerate(WORDS) if at in members), known=False)
        return NETWORK({"t": torch.tensor([ids])})[0].double()

    found = explained(method, texts, "removal")
    torch.testing.assert_close(found.base_values[0], value(set()), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.values[0], by_definition(value), rtol=0, atol=1e-6)


def test_an_absent_word_is_the_mask_token_of_the_tokenizer():
    texts = reader("<mask>")
    ids = texts.ids(" ".join(WORDS))

    def value(members):
        mixed = [ids[0], *(i if at in members else texts.mask for at, i in enumerate(ids[1:5])), *ids[5:]]
        return NETWORK({"t": torch.tensor([mixed])})[0].double()

    torch.testing.assert_close(explained("exact", texts, "mask").values[0], by_definition(value), rtol=0, atol=1e-6)


def test_a_tokenizer_without_a_mask_token_is_named():
    with pytest.raises(InvalidInput, match=r'"players\.t\.absent".*send "removal"'):
        explained("exact", reader(), "mask")


@pytest.mark.parametrize("method", ["deep", "gradient"])
def test_methods_with_gradients_refuse_removal(method):
    with pytest.raises(UnsupportedNetwork, match='send "absent": "mask"'):
        explained(method, reader("[MASK]"), "removal")


def test_absent_is_one_reference_row():
    (image, past, _), row = SPEC.inputs, ROW
    assert (reference_row(past, 0.5, row["past"], BACKGROUND["past"]) == 0.5).all()
    mean = reference_row(past, "mean", row["past"], BACKGROUND["past"])
    torch.testing.assert_close(mean[0], BACKGROUND["past"].mean(0))
    blurred = reference_row(image, "blur", row["image"], BACKGROUND["image"])
    assert blurred.var() < 0.8 * row["image"].var()
    # The channels are not mixed: a constant channel stays as it is.
    plain = row["image"].clone()
    plain[..., 1] = 2.0
    torch.testing.assert_close(reference_row(image, "blur", plain, BACKGROUND["image"])[..., 1], plain[..., 1])
    partition = Partition(SPEC, PARTITIONS["blur"])
    background = game_background(SPEC.inputs, BACKGROUND, ROW, partition.fixed, partition)
    assert {len(x) for x in background.values()} == {1}
    assert partition.has_one_reference
