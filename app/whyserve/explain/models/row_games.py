"""The games of players that depend on the row: each row is explained with players and a background of its own.

A held element has the explained row's value in every background row, so no method has to know of it. An input with
`absent` has one reference row instead of the background's rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from whyserve.explain.game.base import Attribution, Explainer, Inputs, Limits, row_by_row
from whyserve.explain.game.device import CPU, Device
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.deep import Deep
from whyserve.explain.methods.permutation.permutation import Permutation
from whyserve.explain.methods.registry import EXPLAINERS
from whyserve.explain.models.absent import reference_row, removing, with_ids
from whyserve.model.input_spec import InputSpec
from whyserve.model.players import Partition, RowPlayers
from whyserve.model.spec import ModelSpec
from whyserve.model.text import TextReader, TokenSpans
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
    return RowGames(prepare, spec.inputs, background, partition, texts=texts or {})


def game_players(players: RowPlayers) -> Players:
    """A held element joins player 0: it is the same in every mix, so it adds nothing."""
    membership = {name: torch.from_numpy(n.clip(min=0)) for name, n in players.numbers.items()}
    return Players(players.count, membership, players.tree)


@dataclass(frozen=True, slots=True)
class RowGames:
    """One method for rows that each have a game of their own. Attributions of rows with fewer players end with 0.

    players: of each row to explain, if they are known already. texts: the readers, for players of texts.
    """

    prepare: Prepare
    inputs: Sequence[InputSpec]
    background: Inputs
    partition: Partition
    players: Sequence[RowPlayers] | None = None
    texts: Mapping[str, TextReader] = field(default_factory=dict)

    def players_of(self, rows: Inputs) -> Sequence[RowPlayers]:
        """The players of each row. Raises InvalidInput."""
        return self.players or players_of(self.partition, rows, self.texts)

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Row by row, as the method does. Raises what the method raises."""
        of_rows = self.players_of(rows)

        def prepared_for(number: int, row: Inputs) -> Explainer:
            players = of_rows[number]
            background = game_background(self.inputs, self.background, row, players, self.partition)
            return self.prepare(background, game_players(players))

        return row_by_row(prepared_for, rows, outputs, limits)


def players_of(
    partition: Partition,
    rows: Inputs,
    texts: Mapping[str, TextReader],
    given: Sequence[Mapping[str, TokenSpans]] = (),
) -> Sequence[RowPlayers]:
    """The players of each row. Raises InvalidInput.

    texts: the readers, for players of texts. given: of each row, the tokens of the texts that are known already.
    """
    count = row_count(rows)
    if not partition.follows_rows:
        return [partition.fixed] * count
    found = []
    for at in range(count):
        row, known = {name: x[at].numpy() for name, x in rows.items()}, given[at] if given else {}
        unknown = [name for name in partition.texts if name not in known]
        found.append(partition.of(row, {**known, **{n: texts[n].spans_of_ids(row[n].tolist()) for n in unknown}}))
    return found


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
