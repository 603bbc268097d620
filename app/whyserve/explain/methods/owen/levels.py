"""The nodes of a tree of players, and random orders of the players that respect it."""

from functools import cached_property

import torch

from whyserve.model.hierarchy import Tree


class Levels:
    """The nodes of a tree, numbered as in the tree: P players, then groups, and the root as the last.

    inside: (nodes, P) bool, the players of each node. groups: (group, its members, its depth) from the root inwards.
    """

    def __init__(self, tree: Tree) -> None:
        self.players = len(tree.players)
        self.inside = torch.eye(self.players + len(tree.members), self.players) > 0
        for group, members in enumerate(tree.members, self.players):
            self.inside[group] = self.inside[list(members)].any(0)
        depth, self.groups = {len(self.inside) - 1: 0}, list[tuple[int, torch.Tensor, int]]()
        for group, members in [*enumerate(tree.members, self.players)][::-1]:
            self.groups.append((group, torch.tensor(members), depth[group]))
            depth |= dict.fromkeys(members, depth[group] + 1)

    @cached_property
    def cost(self) -> int:
        """The number of coalitions that the exact values need, beside the empty and the full one."""
        others, total = {len(self.inside) - 1: 0}, 0  # the number of siblings at all levels above a node
        for group, members, _ in self.groups:
            others |= dict.fromkeys(members.tolist(), others[group] + len(members) - 1)
            total += (1 << others[group]) * ((1 << len(members)) - 2)
        return total

    @property
    def widest(self) -> int:
        """The number of mixed sets of the members of the largest group."""
        return (1 << max(len(members) for _, members, _ in self.groups)) - 2

    def union(self, chosen: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
        """(C, P) bool: the players of the nodes that each line of `chosen`, (C, n) bool, names."""
        return chosen.float() @ self.inside[nodes].float() > 0

    def orders(self, rows: int, count: int, generator: torch.Generator) -> torch.Tensor:
        """(rows · count, P): the place of each player in random orders; the players of a node are neighbours.

        The orders of one row are balanced where groups have two members: which of the two comes first is a column of a
        two-level design by depth, so all combinations of the levels near the root are equally frequent.
        """
        start, sizes = torch.zeros(rows * count, len(self.inside), dtype=torch.int64), self.inside.sum(1)
        codes = sorted(
            range(min(256, 1 << (count - 1).bit_length())), key=lambda c: (c.bit_count() > 1, c.bit_count() % 2 == 0, c)
        )
        columns = [torch.tensor([(number & code).bit_count() % 2 for number in range(count)]) for code in codes[:16]]
        for group, members, depth in self.groups:
            keys = torch.rand(rows * count, len(members), generator=generator)
            if len(members) == 2:
                flip = torch.rand(rows, 1, generator=generator) < 0.5
                keys[:, 0] = (flip ^ (columns[depth % len(columns)] > 0)).flatten() * 2.0 - 0.5
            ranked = members[keys.argsort(1)]
            lengths = sizes[ranked]
            start.scatter_(1, ranked, start[:, group, None] + lengths.cumsum(1) - lengths)
        return start[:, : self.players]
