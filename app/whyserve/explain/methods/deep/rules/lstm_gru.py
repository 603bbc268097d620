"""Cells with gates: GRU and LSTM. See rnn_cell for the shapes and the two parts of a backward pass.

A bar is a midpoint of the two sides, ū = (u + u₀)/2; the multiplier of a factor is the other factor's bar.
σ' and tanh' stand for Δy/Δx of sigmoid and tanh.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from whyserve.explain.methods.deep.rules.elementwise import hyperbolic, logistic
from whyserve.explain.methods.deep.rules.rnn_cell import Cell, Kept, by_gate


class Gru(Cell):
    """r, z = σ(W x + b + U h), n = tanh(W x + b + r · u) with u = U h + c, and h ← n + z · (h − n)."""

    gates, kept = 3, 9

    def run(self, x: torch.Tensor, first: Sequence[torch.Tensor]) -> tuple[Kept, list[torch.Tensor]]:
        size = self.size
        bias, own = self.biases[0].clone(), self.biases[1][2 * size :]
        bias[: 2 * size] += self.biases[1][: 2 * size]
        within = F.linear(x, self.entering, bias)
        given, before = self.chain(first[0], len(x))
        opened, drive, new = (x.new_empty(*x.shape[:2], n * size) for n in (2, 1, 1))
        returning, own_returning = self.returning[: 2 * size].T, self.returning[2 * size :].T
        for t in self.order(len(x)):
            h, gates, r_z = before[t], within[t], opened[t]
            torch.sigmoid(gates[:, : 2 * size].addmm_(h, returning), out=r_z)
            torch.addmm(own, h, own_returning, out=drive[t])
            torch.tanh(gates[:, 2 * size :].addcmul_(r_z[:, :size], drive[t]), out=new[t])
            torch.lerp(new[t], h, r_z[:, size:], out=given[t])
        return (given, before, within, opened, drive, new), [given[self.order(len(x))[-1]]]

    def back(
        self, row: Kept, base: Kept, g: torch.Tensor | None, last: list[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        size = self.size
        (_, h, x, y, u, n), (_, h0, x0, y0, u0, n0) = row, base
        # y holds r and z side by side, x the inputs of r, z and n, and u the state's part of n.
        middle = (y + y0).mul_(0.5)  # r̄ and z̄
        # Multipliers of the three gates' inputs for a multiplier 1 of the new state. For z: σ' · (h − n)‾.
        # For n: tanh' · (1 − z̄). n's input is W x + b + r · u, so r gets n's multiplier times ū, and σ'.
        through = torch.cat(
            [
                logistic(x[..., : 2 * size], x0[..., : 2 * size], y, y0),
                hyperbolic(x[..., 2 * size :], x0[..., 2 * size :], n, n0).mul_(1 - middle[..., size:]),
            ],
            -1,
        )
        entering = through[..., 2 * size :].clone()  # of n's input; of u below, which is r̄ times this
        through[..., :size].mul_((u + u0).mul_(0.5)).mul_(entering)
        through[..., size : 2 * size].mul_(((h - n) + (h0 - n0)).mul_(0.5))
        through[..., 2 * size :].mul_(middle[..., :size])
        (m,), returning, steps = last, self.returning.to(x.dtype), len(through)
        result, arrived = m.new_empty(steps, *m.shape[:-1], 3 * size), m.new_empty(steps, *m.shape)
        of_gate, through_gate = by_gate(result, 3), by_gate(through, 3)
        for t in reversed(self.order(steps)):
            # m: the multiplier of h after step t, from step t + 1 and from the output at t.
            m = arrived[t].copy_(m) if g is None else torch.add(m, g[t], out=arrived[t])
            torch.mul(m.unsqueeze(-2), through_gate[t], out=of_gate[t])
            # h before step t: directly through z · h, and through U into the three gates.
            m = (m * middle[t, ..., size:]).add_(result[t] @ returning)
        # In the loop the last third held the multiplier of u, for `returning`. W x enters n directly, without r.
        torch.mul(arrived, entering, out=result[..., 2 * size :])
        return result, [m]


class Lstm(Cell):
    """o, i, f = σ(W x + b + U h), a = tanh(W x + b + U h), c ← f · c + i · a, and h ← o · tanh c, projected or not."""

    gates, kept = 4, 12

    def __init__(self, weights: Sequence[torch.Tensor], *, biased: bool, backwards: bool) -> None:
        super().__init__(weights, biased=biased, backwards=backwards)
        # torch's order is i, f, a, o. Rotated by one, the three sigmoids o, i, f are adjacent, and so are the three
        # gates i, f, a that feed c.
        turned = torch.arange(len(weights[0])).roll(self.size)
        self.entering, self.returning = self.entering[turned], self.returning[turned]
        self.bias = (self.biases[0] + self.biases[1])[turned]

    def run(self, x: torch.Tensor, first: Sequence[torch.Tensor]) -> tuple[Kept, list[torch.Tensor]]:
        size = self.size
        within = F.linear(x, self.entering, self.bias)
        opened, (h, c) = torch.empty_like(within), first
        cells, before = self.chain(c, len(x))
        bent, given = torch.empty_like(cells), x.new_empty(*x.shape[:2], h.shape[-1])
        returning = self.returning.T
        # All steps' views at once: one by one, they take as long as the numbers.
        bounded, open_, last = within[..., : 3 * size], opened[..., : 3 * size], within[..., 3 * size :]
        parts = (within, bounded, open_, last, *opened.chunk(4, -1), before, cells, bent, given)
        views = list(zip(*(part.unbind() for part in parts), strict=True))
        for t in self.order(len(x)):
            gates, of_sigmoids, sigmoids, of_tanh, o, i, f, a, earlier, cell, curve, result = views[t]
            gates.addmm_(h, returning)
            torch.sigmoid(of_sigmoids, out=sigmoids)
            torch.tanh(of_tanh, out=a)
            torch.mul(f, earlier, out=cell).addcmul_(i, a)
            torch.tanh(cell, out=curve)
            if self.projection is None:
                h = torch.mul(o, curve, out=result)
            else:
                h = torch.mm(o * curve, self.projection.T, out=result)
        return (given, within, opened, before, cells, bent), [h, cells[self.order(len(x))[-1]]]

    def back(
        self, row: Kept, base: Kept, g: torch.Tensor | None, last: list[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        size = self.size
        through, to_cell, on = self._slopes(row, base)
        (m, n), returning, steps = last, self.returning.to(through.dtype), len(through)
        down = None if self.projection is None else self.projection.to(through.dtype)
        result = n.new_empty(steps, *n.shape[:-1], 4 * size)
        of_gate, through_gate = by_gate(result, 4), by_gate(through, 4)
        parts = (to_cell, on, result, *(x[..., some, :] for x in (through_gate, of_gate) for some in (0, slice(1, 4))))
        views = list(zip(*(part.unbind() for part in parts), strict=True))
        for t in reversed(self.order(steps)):
            # m: the multiplier of h after step t; n: of c after step t. Both come from step t + 1, and m also from
            # the output at t. h = o · tanh c adds h's part to n before n goes on to i, f, a and the c before.
            bent, forgotten, entered, through_o, through_others, of_o, of_others = views[t]
            m = m if g is None else m + g[t]
            m = m if down is None else m @ down
            n = torch.addcmul(n, m, bent)
            torch.mul(m, through_o, out=of_o)
            torch.mul(n.unsqueeze(-2), through_others, out=of_others)
            m, n = entered @ returning, n.mul_(forgotten)
        return result, [m, n]

    def _slopes(self, row: Kept, base: Kept) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For a multiplier 1: of the gates' inputs (o from h; i, f and a from c), of c from h, of the c before from c.

        o: σ' · (tanh c)‾. i: σ' · ā. f: σ' · c̄ before. a: tanh' · ī. c from h: tanh' · ō. c before: f̄.
        """
        size = self.size
        (_, x, y, before, c, bent), (_, x0, y0, before0, c0, bent0) = row, base
        middle, last = (y + y0).mul_(0.5), slice(3 * size, None)
        slopes = logistic(x[..., : 3 * size], x0[..., : 3 * size], y[..., : 3 * size], y0[..., : 3 * size])
        through = torch.cat([slopes, hyperbolic(x[..., last], x0[..., last], y[..., last], y0[..., last])], -1)
        through[..., :size].mul_((bent + bent0).mul_(0.5))
        through[..., size : 2 * size].mul_(middle[..., last])
        through[..., 2 * size : 3 * size].mul_((before + before0).mul_(0.5))
        through[..., last].mul_(middle[..., size : 2 * size])
        return through, hyperbolic(c, c0, bent, bent0).mul_(middle[..., :size]), middle[..., 2 * size : 3 * size]
