"""Trees of players: words in sentences, patches in quadrants, clusters of correlated features.

`players = { tree = { size = ["length", "width"], body = ["size", "mass"] } }` names groups, with players and other
groups as members. Without it, `natural_tree` finds the groups. The method `owen` explains a tree.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from whyserve.model.input_spec import InputSpec
    from whyserve.model.players import RowPlayers

MAX_DEPTH = 100
# Features of one cluster have at least these mean correlations, from the outer clusters to the inner ones.
CORRELATIONS = (0.5, 0.8)
# Correlations are a table of elements × elements. Beyond this number of elements, there are no clusters.
MOST_ELEMENTS = 2000

Node = int | tuple[str, Sequence["Node"]]
"""A player, or a group: its label and its members."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree over P players. Its nodes are the players, 0 to P − 1, then the groups, and last the root: all players.

    players: their names. labels: of the groups, without the root.
    members: the nodes of each group and of the root. An inner group stands before the group that contains it.
    """

    players: Sequence[str]
    labels: Sequence[str]
    members: Sequence[Sequence[int]]

    @classmethod
    def of(cls, players: Sequence[str], top: Iterable[Node]) -> "Tree":
        """The tree with these nodes under its root."""
        labels, members = list[str](), list[Sequence[int]]()

        def number(node: Node) -> int:
            if isinstance(node, int):
                return node
            members.append([number(member) for member in node[1]])
            labels.append(node[0])
            return len(players) + len(members) - 1

        root = [number(node) for node in top]
        return cls(players, labels, [*members, root])

    def described(self, values: Sequence[float], errors: Sequence[float]) -> list[dict[str, Any]]:
        """The groups of an answer, outer groups first. values: of players. errors: standard errors of groups."""
        of_node, names, found = list(values), [*self.players, *self.labels], list[dict[str, Any]]()
        for label, members, error in zip(self.labels, self.members, errors, strict=False):
            of_node.append(sum(of_node[member] for member in members))
            shown = [names[member] for member in members]
            found.append({"group": label, "members": shown, "value": of_node[-1], "standard_error": error})
        return found[::-1]


def given_tree(players: Sequence[str], groups: Any) -> Tree:
    """The tree of a request: the members of each group by its name. Players in no group stand under the root.

    Raises ValueError with two arguments: the place in `tree`, and what is wrong.
    """
    if not isinstance(groups, Mapping) or not groups:
        raise ValueError("", "must be an object: the members of each group, by its name")
    numbers, inside = {name: number for number, name in enumerate(players)}, dict[str, str]()
    for group, members in groups.items():
        place = f".{group[:80]}"
        if group in numbers:
            raise ValueError(place, "has the name of a player; choose another name")
        if not isinstance(members, list) or not members:
            raise ValueError(place, "must be a list of players and groups, and must not be empty")
        for at, member in enumerate(members):
            if not isinstance(member, str) or not (member in numbers or member in groups):
                shown = ", ".join(players[:10])
                raise ValueError(
                    f"{place}[{at}]", f"is neither a player nor a group of the tree; the first players: {shown}"
                )
            if member in inside:
                raise ValueError(f"{place}[{at}]", f'is already in the group "{inside[member]}"')
            inside[member] = group
    for group in groups:
        above, node = {group}, group
        while node in inside:
            node = inside[node]
            if node in above:
                raise ValueError(f".{group[:80]}", "is cyclic: a group must not be inside itself")
            above.add(node)
        if len(above) > MAX_DEPTH:
            raise ValueError(f".{group[:80]}", f"is inside more than {MAX_DEPTH} groups; use fewer levels")

    def node_of(name: str) -> Node:
        return (name, [node_of(member) for member in groups[name]]) if name in groups else numbers[name]

    return Tree.of(players, [node_of(name) for name in (*groups, *players) if name not in inside])


def natural_tree(players: "RowPlayers", background: Mapping[str, np.ndarray]) -> Tree:
    """Words in sentences, parts of a picture in quadrants, of a series in halves, and features in clusters.

    background: (B, *shape) per input; the clusters are those of its correlated features. If an input has no natural
    groups, its players stand side by side, as in a Shapley value.
    """
    top, divided = list[Node](), set[int]()
    for item, _, first, division in players.parts:
        if division is None:
            continue
        count = int(division.numbers.max()) + 1
        divided |= set(range(first, first + count))
        prefix = f"{item.name}: " if len(players.numbers) > 1 else ""
        if division.sentences:
            nodes = _by_label(range(first, first + count), [division.sentences], f"{prefix}sentence ", first)
        else:
            nodes = _by_place(item, division.numbers, first, prefix)
        top += [(item.name, nodes)] if prefix and len(nodes) > 1 else nodes
    others = [number for number in range(players.count) if number not in divided]
    return Tree.of(players.names, [*_clusters(players, others, background), *top])


def _group(label: str, nodes: Sequence[Node]) -> Node:
    """A group, or its only member."""
    return (label, nodes) if len(nodes) > 1 else nodes[0]


def _only(nodes: Sequence[Node]) -> Sequence[Node]:
    """The nodes; the members of the group, if it is the only node."""
    return nodes[0][1] if len(nodes) == 1 and isinstance(nodes[0], tuple) else nodes


def _by_label(members: Iterable[int], levels: Sequence[Sequence[int]], name: str, first: int = 0) -> Sequence[Node]:
    """Members with the same label are one group, and so on inside it. levels: the label of each member from `first`."""
    if not levels:
        return list(members)
    parts: dict[int, list[int]] = defaultdict(list)
    for member in members:
        parts[levels[0][member - first]].append(member)
    nodes, number = list[Node](), 0
    for inside in parts.values():
        number += len(inside) > 1
        label = f"{name}{number}"
        nodes.append(_group(label, _only(_by_label(inside, levels[1:], f"{label}.", first))))
    return _only(nodes)


def _by_place(item: "InputSpec", numbers: np.ndarray, first: int, prefix: str) -> Sequence[Node]:
    """The players of a picture in quadrants, and of a series in halves, by the middle of each player."""
    image = item.image_axes()
    if image:
        axes, words = [axis for axis in range(numbers.ndim) if axis != image[2]], ["rows", "columns"]
    elif item.kind == "sequence":
        axes, words = [0], ["steps"]
    else:
        return list(range(first, first + int(numbers.max()) + 1))
    inside, places = numbers >= 0, np.indices(numbers.shape)
    count = np.bincount(numbers[inside])
    middles = [np.bincount(numbers[inside], weights=places[axis][inside] + 0.5) / count for axis in axes]

    def parts(members: Sequence[int], low: np.ndarray, high: np.ndarray) -> Sequence[Node]:
        if len(members) <= 1 << len(axes) or (high - low).max() <= 1:
            return [first + member for member in members]
        half, sides = (low + high) // 2, defaultdict[tuple[bool, ...], list[int]](list)
        for member in members:
            sides[tuple(middle[member] >= cut for middle, cut in zip(middles, half, strict=True))].append(member)
        nodes = []
        for side, chosen in sorted(sides.items()):
            start, end = np.where(side, half, low), np.where(side, high, half)
            spans = zip(words, start.tolist(), end.tolist(), strict=True)
            label = prefix + ", ".join(f"{word} {one} to {other - 1}" for word, one, other in spans)
            nodes.append(_group(label, parts(chosen, start, end)))
        return _only(nodes)

    ends = np.array([numbers.shape[axis] for axis in axes])
    return parts(range(len(count)), np.zeros_like(ends), ends)


def _clusters(players: "RowPlayers", members: Sequence[int], background: Mapping[str, np.ndarray]) -> Sequence[Node]:
    """Features in clusters, by average linkage of the distance 1 − |correlation| over the background."""
    tables = [part.item.name for part in players.parts if part.item.is_tabular]
    if len(members) < 3 or not tables or len(background[tables[0]]) < 3:
        return list(members)
    owners = np.concatenate([players.numbers[name] for name in tables])
    if len(owners) > MOST_ELEMENTS:
        return list(members)
    from scipy.cluster.hierarchy import fcluster, linkage  # noqa: PLC0415 (slow to import)
    from scipy.spatial.distance import squareform  # noqa: PLC0415

    columns = np.concatenate([background[name] for name in tables], 1).astype(np.float64)
    known = ~np.isnan(columns)
    means = np.where(known, columns, 0).sum(0) / np.maximum(known.sum(0), 1)
    centred = np.where(known, columns - means, 0)  # a missing value counts as the mean
    size = np.sqrt((centred**2).sum(0))
    centred = centred / np.where(size > 0, size, 1)
    near = np.zeros((players.count, players.count))  # of two groups, the nearest pair of their features
    shown = np.ix_(owners >= 0, owners >= 0)
    np.maximum.at(near, np.ix_(owners[owners >= 0], owners[owners >= 0]), np.abs(centred.T @ centred)[shown])
    distance = np.clip(1 - near[np.ix_(members, members)], 0, 1)
    np.fill_diagonal(distance, 0)
    linked = linkage(squareform(distance, checks=False), "average")
    levels = []
    for correlation in CORRELATIONS:
        of_member = dict(zip(members, fcluster(linked, 1 - correlation, "distance").tolist(), strict=True))
        levels.append([of_member.get(number, 0) for number in range(players.count)])
    return _by_label(members, levels, "cluster ")
