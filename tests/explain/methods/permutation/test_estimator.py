import torch

from whyserve.explain.methods.permutation.estimator import MOST_LEFT_OUT, Estimate, shrunk


def test_a_large_correction_is_used_and_of_noise_a_part_is_left_out():
    noise = 1.2 * MOST_LEFT_OUT * torch.randn(400, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise -= noise.mean(1, keepdim=True)
    used = shrunk(noise, torch.ones_like(noise))
    assert float(used.square().mean() / noise.square().mean()) < 0.3
    assert float((noise - used).abs().max()) < 1.5 * MOST_LEFT_OUT
    assert float(used.sum(1).abs().max()) < 1e-12
    large = noise + 10 * torch.arange(-5.5, 6, dtype=torch.float64)
    assert float((shrunk(large, torch.ones_like(large)) - large).abs().max()) < 0.1
    # Two free numbers cannot say whether they are noise.
    assert torch.equal(shrunk(noise[:, :3], torch.ones_like(noise[:, :3])), noise[:, :3])


def test_all_rounds_together_decide_what_is_noise():
    """A correction that may be noise in each of many rounds is certain in all of them."""
    estimate = Estimate.empty(1, 1, 10)
    correction = torch.tensor([[0.4, -0.4] * 5], dtype=torch.float64)
    for _ in range(100):
        estimate.add(0, torch.stack([0 * correction, correction, correction**0]), 20)
    assert torch.allclose(estimate.mean()[0], correction, rtol=0.07)
    assert torch.allclose(shrunk(correction, correction**0), correction / 0.4 * (0.4 - MOST_LEFT_OUT))
