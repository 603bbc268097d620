"""The games of players that depend on the row: each row is explained with players and a background of its own.

A held element has the explained row's value in every background row, so no method has to know of it. An input with
`absent` has one reference row instead of the background's rows.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from whyserve.explain.game.base import Attribution, Explainer, Inputs, Limits, padded
from whyserve.explain.game.device import CPU, Device
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.deep import Deep
from whyserve.explain.methods.permutation.permutation import Permutation
from whyserve.explain.methods.registry import EXPLAINERS
from whyserve.explain.models.absent import reference_row, removing, with_ids
from whyserve.model.input_spec import InputSpec
from whyserve.model.players import Partition, RowPlayers
from whyserve.model.spec import ModelSpec
from whyserve.model.text import TextReader
from whyserve.model.vocabulary import NOBODY

TRACED: dict[str, type[Deep | Permutation]] = {method.method: method for method in (Deep, Permutation)}

Prepare = Callable[[Inputs, Players], Explainer]
"""Prepares a method for a background and players."""


def preparer(
    method: str,
    network: Network,
    background: Inputs,
    spec: ModelSpec,
    memory_bytes: int = 1 << 30,
    *,
    device: Device = CPU,
) -> Prepare:
    """Prepares one method for many games of a network. A method that traces the network does so once."""
    if method not in TRACED:
        return partial(device.prepared, partial(EXPLAINERS[method], network, memory_bytes=memory_bytes))
    elements = game_players(Partition(spec, {}).fixed)
    with device.scope():
        traced = TRACED[method](network, device.put(background), elements.on(device.torch), memory_bytes=memory_bytes)
    return partial(device.prepared, traced.again)


def prepared(
    method: str,
    network: Network,
    background: Inputs,
    spec: ModelSpec,
    partition: Partition,
    *,
    memory_bytes: int = 1 << 30,
    texts: Mapping[str, TextReader] | None = None,
    device: Device = CPU,
) -> Explainer:
    """A method for the players of a partition. texts: the readers, for players of texts and for their `absent`.

    Raises InvalidInput as with_ids does, and what the method raises.
    """
    if not partition.changes_background:
        make = partial(EXPLAINERS[method], network, memory_bytes=memory_bytes)
        return device.prepared(make, background, game_players(partition.fixed))
    network, partition = removing(network, partition, texts, method), with_ids(partition, texts)
    prepare = preparer(method, network, background, spec, memory_bytes, device=device)
    return RowGames(prepare, spec.inputs, background, partition, texts=texts)


def game_players(players: RowPlayers) -> Players:
    """A held element joins player 0: it is the same in every mix, so it adds nothing."""
    membership = {name: torch.from_numpy(n.clip(min=0)) for name, n in players.numbers.items()}
    return Players(players.count, membership, players.tree)


class RowGames:
    """One method for rows that each have a game of their own. Attributions of rows with fewer players end with 0."""

    def __init__(
        self,
        prepare: Prepare,
        inputs: Sequence[InputSpec],
        background: Inputs,
        partition: Partition,
        players: Sequence[RowPlayers] | None = None,
        *,
        texts: Mapping[str, TextReader] | None = None,
    ) -> None:
        """players: of each row to explain, if they are known already. texts: the readers, for players of texts."""
        self._texts = texts or {}
        self._prepare, self._inputs, self._background = prepare, inputs, background
        self._partition, self._players = partition, players

    def with_players(self, players: Sequence[RowPlayers]) -> "RowGames":
        """The same games for rows whose players are known."""
        return RowGames(self._prepare, self._inputs, self._background, self._partition, players)

    def players_of(self, rows: Inputs) -> Sequence[RowPlayers]:
        """The players of each row. Raises InvalidInput."""
        count = len(next(iter(rows.values())))
        if not self._partition.follows_rows:
            return [self._partition.fixed] * count
        found = []
        for at in range(count):
            row = {name: x[at].numpy() for name, x in rows.items()}
            texts = {name: self._texts[name].spans_of_ids(row[name].tolist()) for name in self._partition.texts}
            found.append(self._partition.of(row, texts))
        return found

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Row by row, as the method does. Raises what the method raises."""
        found, total = [], len(outputs)
        of_rows = self._players or self.players_of(rows)
        for number in range(total):
            row = {name: x[number : number + 1] for name, x in rows.items()}
            players = of_rows[number]
            background = game_background(self._inputs, self._background, row, players, self._partition)
            method = self._prepare(background, game_players(players))
            found.append(method.explain(row, outputs[number : number + 1], limits.part(number, total)))
        errors = [each.standard_errors for each in found if each.standard_errors is not None]
        pairs = [each.interactions for each in found if each.interactions is not None]
        trees = [tree for each in found if each.trees is not None for tree in each.trees]
        of_groups = [each.group_errors for each in found if each.group_errors is not None]
        return Attribution(
            padded([each.values for each in found]),
            torch.cat([each.base_values for each in found]),
            torch.cat([each.predictions for each in found]),
            padded(errors) if errors else None,
            sum(each.rows_evaluated for each in found),
            all(each.complete for each in found),
            torch.cat(pairs) if pairs else None,
            trees or None,
            padded(of_groups) if of_groups else None,
        )


def game_background(
    inputs: Sequence[InputSpec], background: Inputs, row: Inputs, players: RowPlayers, partition: Partition
) -> dict[str, torch.Tensor]:
    """The background of one row: (B, *shape) per input, or one row if no input keeps the background's rows."""
    found = {
        item.name: background[item.name]
        if (absent := partition.absent.get(item.name)) is None
        else reference_row(item, absent, row[item.name], background[item.name])
        for item in inputs
    }
    keep = [name for name, x in found.items() if name not in (*partition.absent, *partition.held)]
    count = len(found[keep[0]]) if keep else 1
    result = {}
    for name, x in found.items():
        held = torch.from_numpy(players.numbers[name] == NOBODY)
        wide = x[:1].expand(count, *x.shape[1:]) if name in (*partition.absent, *partition.held) else x
        result[name] = torch.where(held, row[name], wide)
    return result
