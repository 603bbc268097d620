import torch

from whyserve.explain.game.players import Players
from whyserve.explain.methods.permutation.guide import changes, fit


def test_changes_are_differences_of_numbers_and_whether_a_group_or_an_integer_differs():
    players = Players(3, {"x": torch.tensor([0, 1, 1]), "token": torch.tensor([2])})
    background = {"x": torch.tensor([[1.0, 2.0, 3.0], [5.0, 0.0, 3.0]]), "token": torch.tensor([[7], [8]])}
    row = {"x": torch.tensor([[2.0, 0.0, 3.0]]), "token": torch.tensor([[8]])}
    change = changes(players, row, background)
    expected = torch.tensor([[1.0, 1.0, 1.0], [-3.0, 0.0, 0.0]], dtype=torch.float64)
    assert torch.allclose(change, expected / expected.square().mean(0).sqrt())


def test_two_missing_values_are_no_change_and_one_is_a_change():
    background = {"x": torch.tensor([[torch.nan], [torch.nan], [1.0]])}
    players = Players.elements({"x": (1,)})
    one, other = (changes(players, {"x": torch.tensor([[x]])}, background) for x in (torch.nan, 2.0))
    assert (one > 0).flatten().tolist() == [False, False, True]
    assert (other > 0).all()


def test_the_fit_finds_common_effects_and_changes():
    generator = torch.Generator().manual_seed(0)
    rows, players, pairs = 12, 5, 600
    present = (torch.rand(pairs, players, generator=generator) < 0.5).float()
    background = torch.arange(pairs) % rows
    change = torch.randn(rows, players, generator=generator, dtype=torch.float64)
    truth = (change * torch.tensor([1.0, 0, 0, 2, 0]))[..., None] + torch.tensor([0, 3.0, 0, 0, 0])[:, None]
    g = ((present.double() - 0.5)[..., None] * truth[background]).sum(1)
    assert (fit(g, present, background, change) - truth).abs().max() < 0.02
    assert torch.equal(fit(0 * g, present, background, change), 0 * truth)
