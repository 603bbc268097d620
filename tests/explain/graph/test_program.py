import torch
from torch import nn

from whyserve.explain.graph.export import trace


class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.square = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3, 3))
        self.bias, self.line = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(1, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.mm(x, self.weight) + self.bias
        shared = torch.mm(first, self.square)
        return self.line + torch.mm(shared + self.bias, self.square) + shared


def test_a_product_and_its_bias_are_one_step_unless_the_product_is_read_twice():
    torch.manual_seed(0)
    module, x = Products(), torch.randn(5, 4)
    program = trace(module, (x,))
    assert [step.name for step in program.live].count("aten.addmm") == 2
    assert [step.name for step in program.live].count("aten.mm") == 1
    values = program.fixed_values(len(x))
    values[program.inputs[0]] = x
    for step in program.live:
        values[step.slot] = step.run(values)
    assert torch.allclose(values[program.output], module(x), atol=1e-5)
