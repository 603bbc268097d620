"""The players of a model: the parts of its inputs that get one attribution each.

A Partition is what a request or model.toml asks for, in the words of whyserve.model.vocabulary. It gives each row its
RowPlayers: the player of every element, and the answer's form of their attributions.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from whyserve.errors import InvalidInput
from whyserve.model.hierarchy import Tree, given_tree, natural_tree
from whyserve.model.input_spec import AttributionForm, InputSpec
from whyserve.model.vocabulary import NOBODY, Division, InputPlayers, check_words, divide, group_by_place

if TYPE_CHECKING:
    from whyserve.model.spec import ModelSpec
    from whyserve.model.text import TokenSpans

# A number of 64 bits with its comma, as JSON: somewhat more than measured.
NUMBER_BYTES = 23
# The bytes of a listed player in an answer: somewhat more than measured.
PLAYER_BYTES = 120
# The keys of `players` that are no inputs.
WORDS = HOLD, GROUPS, TREE = "hold", "groups", "tree"


@dataclass(frozen=True, slots=True)
class RowPlayers:
    """The players of a row. They are numbered from 0 in the order of the inputs, row-major.

    numbers: the player of each element, by input, in the shape of a row; NOBODY for a held element. A group, or a
        feature group of model.toml, is one player in all its places.
    names: of all players.
    """

    numbers: Mapping[str, np.ndarray]
    names: Sequence[str]
    parts: Sequence["_Part"]
    _groups: Mapping[str, tuple[int, list[str]]]
    _tree: Mapping[str, list[str]] | None = None

    def tree(self, background: Mapping[str, np.ndarray]) -> Tree:
        """The tree of the request or of model.toml, else the natural one. background: (B, *shape) per input."""
        return natural_tree(self, background) if self._tree is None else given_tree(self.names, self._tree)

    @property
    def count(self) -> int:
        return len(self.names)

    @property
    def order(self) -> list[int]:
        """The numbers of the players in the order of an answer: groups come last."""
        groups = [number for number, _ in self._groups.values()]
        return [*(number for number in range(self.count) if number not in groups), *groups]

    @property
    def keyed(self) -> dict[str, int] | None:
        """The player of each key of an answer, also of groups; None if an attribution is more than one number."""
        if any(part.division is not None for part in self.parts):
            return None
        own = {key: number for part in self.parts for key, number in part.keys.items()}
        return {**own, **{name: number for name, (number, _) in self._groups.items()}}

    @property
    def are_listed(self) -> bool:
        """Whether an answer lists players, with labels and places."""
        return bool(self._groups) or any(part.division and part.division.players is not None for part in self.parts)

    @property
    def facts(self) -> dict[str, Any]:
        """What an answer says once for a row: {"masks": …}, each mask as [label, how often in a row] row-major."""
        found = {item.name: part.mask for item, _, _, part in self.parts if part and part.mask is not None}
        masks = {
            name: {
                "shape": list(mask.shape),
                "runs": [[label, sum(1 for _ in run)] for label, run in groupby(mask.ravel().tolist())],
            }
            for name, mask in found.items()
        }
        return {"masks": masks} if masks else {}

    def described(self, values: np.ndarray, texts: Mapping[str, "TokenSpans"] | None = None) -> dict[str, Any]:
        """The attributions of an answer, by the keys of an instance, and under "players" those of groups.

        values: (count,). texts: for each input that was sent as text, its tokens.
        """
        numbers = values.tolist()
        shown: dict[str, Any] = {}
        for item, keys, first, division in self.parts:
            if division is None:
                shown.update({key: numbers[number] for key, number in keys.items()})
            elif division.players is not None:
                shares = zip(division.players, numbers[first : first + len(division.players)], strict=True)
                shown[item.name] = [{**player, "value": value} for player, value in shares]
            elif texts and item.name in texts:
                shown[item.name] = texts[item.name].described(values[self.numbers[item.name]])
            else:
                shown.update(item.attributions(values[self.numbers[item.name]].tolist()))
        groups = [
            {"player": name, "value": numbers[number], "members": members}
            for name, (number, members) in self._groups.items()
        ]
        return {"attributions": shown, **({"players": groups} if groups else {})}


class _Part(NamedTuple):
    """What an answer says of one input: the players by key, or the players of its division, numbered from `first`."""

    item: InputSpec
    keys: Mapping[str, int]
    first: int = 0
    division: Division | None = None


class Partition:
    """How the inputs of a model are divided into players."""

    def __init__(self, spec: "ModelSpec", wanted: Mapping[str, Any] | None = None) -> None:
        """wanted: `players` as in a request; None means those of model.toml.

        Raises InvalidInput, which names the place in `players`.
        """
        self.wanted = dict(spec.explain.players if wanted is None else wanted)
        self.inputs = spec.inputs
        names = [item.name for item in spec.inputs]
        if any(key not in (*names, *WORDS) for key in self.wanted):
            raise _fault("", f"has an unknown key; available keys: {', '.join((*names, *WORDS))}")
        # The players of an input are an object. An input may have the name of a word.
        words = {key: x for key, x in self.wanted.items() if key not in names or not isinstance(x, Mapping)}
        self.held = _held(words.get(HOLD, []), names)
        of_inputs = {name: {} if name in words and name in WORDS else self.wanted.get(name, {}) for name in names}
        self._players = {item.name: _players_of(item, of_inputs[item.name], self.held) for item in spec.inputs}
        # The group of each feature or whole input that is in one, and the members of each group.
        self._group_of, self.groups = self._grouped(spec, words.get(GROUPS, {}))
        self.absent = {name: each.absent for name, each in self._players.items() if each.absent is not None}
        for item in spec.inputs:
            beside = [other.name for other in spec.inputs if other is not item and other.shape == item.shape]
            if self.absent.get(item.name) == "removal" and beside:
                fault = f'cannot be removal, because "{beside[0]}" has one value per token too; send "mask"'
                raise _fault(f"{item.name}.absent", fault)
        if len(self.held) == len(spec.inputs):
            raise _fault(HOLD, "holds every input; at least one input must have players")
        self._tree = words.get(TREE)
        if self._tree is not None:
            self._check_tree()

    def _grouped(self, spec: "ModelSpec", across: Any) -> tuple[dict[str, str], dict[str, list[str]]]:
        if not isinstance(across, Mapping):
            raise _fault(GROUPS, "must be an object: the members of each group, by its name")
        for name, members in across.items():
            if not isinstance(members, list) or not members or not all(isinstance(each, str) for each in members):
                words = "must be a list of features and inputs, and must not be empty"
                raise _fault(f"{GROUPS}.{name}"[:100], words)
        pairs = [(name, each, f"{GROUPS}.{name}") for name, members in across.items() for each in members]
        for item in spec.inputs:
            places = group_by_place(item, self._players[item.name], len(item.features)) if item.is_tabular else {}
            pairs += [(group, item.keys[at], f"{item.name}.{GROUPS}.{group}") for at, group in places.items()]
        held_keys = {key for item in spec.inputs if item.name in self.held for key in item.keys}
        group_of: dict[str, str] = {}
        groups: dict[str, list[str]] = {}
        for group, member, place in pairs:
            if member not in spec.keys:
                raise _fault(place, "has an unknown member; members are features, and inputs that have no features")
            if member in held_keys:
                raise _fault(place, f'holds "{member}", which is held, so it is no player')
            if member in group_of:
                raise _fault(place, f'holds "{member}", which is already in the group "{group_of[member]}"')
            if group in spec.keys or group in spec.groups:
                words = "has the name of a feature, of an input or of a group of model.toml; choose another"
                raise _fault(place, words)
            if member in self._players and self._players[member].word:
                raise _fault(member, f'is in the group "{group}", so it has no players of its own')
            group_of[member] = group
            groups.setdefault(group, []).append(member)
        return group_of, groups

    def _check_tree(self) -> None:
        if self.follows_rows:
            raise _fault(
                TREE, "names players, but these players differ from row to row; leave it out for a natural tree"
            )
        try:
            given_tree(self.fixed.names, self._tree)
        except ValueError as error:
            place, words = error.args
            raise _fault(f"{TREE}{place}", words) from None

    @cached_property
    def key(self) -> str:
        """Equal keys mean equal players."""
        return json.dumps(self.wanted, sort_keys=True)

    @property
    def follows_rows(self) -> bool:
        """Whether the players differ from row to row."""
        return any(players.follows_rows for players in self._players.values())

    @property
    def changes_background(self) -> bool:
        """Whether a row has a background of its own: elements are held, or absent is not the background's."""
        return bool(self.held or self.absent or self.follows_rows)

    def forms(self) -> dict[str, AttributionForm]:
        """The form of each attribution of an answer, by key. Groups are listed under "players" and have no key."""
        found: dict[str, AttributionForm] = {}
        for item in self.inputs:
            if item.name in self.held:
                continue
            if (keys := self._keys_of(item)) is not None:
                found |= {key: AttributionForm() for key in keys if key not in self.groups}
            elif self._players[item.name].word:
                found[item.name] = AttributionForm(players=True)
            else:
                found |= item.attribution_forms()
        return found

    @cached_property
    def answer_bytes(self) -> int:
        """The expected size of one output's attributions as JSON, without those of texts."""
        sizes = [len(key.encode()) + 4 + _form_bytes(form) for key, form in self.forms().items()]
        if not self.follows_rows:
            divided = any(players.word for players in self._players.values())
            divisions = [part.division for part in self.fixed.parts if part.division] if divided else []
            listed = sum(len(division.players) for division in divisions if division.players is not None)
            return sum(sizes) + PLAYER_BYTES * (listed + len(self.groups))
        return sum(sizes) + PLAYER_BYTES * sum(players.superpixels or 0 for players in self._players.values())

    @property
    def has_one_reference(self) -> bool:
        """Whether every input is held or has a reference row, so that no row of the background is used."""
        return bool(self.absent) and all(item.name in (*self.absent, *self.held) for item in self.inputs)

    def for_summary(self, *, asked: bool) -> dict[str, Any]:
        """The players of a summary whose own players would follow the rows. asked: whether the request named them.

        Raises InvalidInput if it did.
        """
        if asked:
            raise _fault("", 'differ from row to row, so there is no summary; send "summary": false, or other players')
        return {HOLD: sorted(self.held)} if self.held else {}

    def check_no_tree(self, method: str) -> None:
        """Raises InvalidInput if the players have a tree. method: the one that explains a tree."""
        if self._tree is not None:
            raise _fault(TREE, f'is for one method only; send "method": "{method}", or no tree')

    def check_interactions(self) -> None:
        """Raises InvalidInput if players that differ from row to row forbid interactions."""
        if self.follows_rows:
            raise _fault("", 'differ from row to row, so there are no "interactions"; give other players')

    @property
    def texts(self) -> list[str]:
        """The inputs whose players need the tokens of a text."""
        return [item.name for item in self.inputs if item.tokenizer and self._players[item.name].follows_rows]

    @cached_property
    def fixed(self) -> RowPlayers:
        """The players of every row, if they do not follow the row."""
        return self.of({}, {})

    def of(self, row: Mapping[str, np.ndarray], texts: Mapping[str, "TokenSpans"]) -> RowPlayers:
        """The players of a row. row: by input, in the shape of a row. texts: its tokens, by text input.

        Raises InvalidInput if the row has no player.
        """
        numbers, names, parts = {}, list[str](), list[_Part]()
        groups: dict[str, tuple[int, list[str]]] = {}
        shared: dict[str, int] = {}  # features, feature groups and groups may have elements in several inputs
        for item in self.inputs:
            if item.name in self.held:
                numbers[item.name] = np.full(item.row_shape, NOBODY)
                continue
            if (keys := self._keys_of(item)) is not None:
                new = [key for key in dict.fromkeys(keys) if key not in shared]
                shared.update(zip(new, range(len(names), len(names) + len(new)), strict=True))
                names += new
                groups |= {key: (shared[key], self.groups[key]) for key in new if key in self.groups}
                parts.append(_Part(item, {key: shared[key] for key in new if key not in groups}))
                numbers[item.name] = np.array([shared[key] for key in keys]).reshape(item.row_shape)
                continue
            division = divide(item, self._players[item.name], row.get(item.name), texts.get(item.name))
            numbers[item.name] = np.where(division.numbers == NOBODY, NOBODY, division.numbers + len(names))
            parts.append(_Part(item, {}, len(names), division))
            names += self._names(item, division)
        if not names:
            raise InvalidInput('"players": this row has no player, because all its tokens are special', field="players")
        return RowPlayers(numbers, tuple(names), parts, groups, self._tree)

    def _keys_of(self, item: InputSpec) -> list[str] | None:
        """The key of each element's player, row-major; None if the elements have no keys."""
        if item.name in self._group_of:
            return [self._group_of[item.name]] * int(np.prod(item.row_shape))
        if (keys := item.player_keys) is None:
            return None
        own = item.keys if item.is_tabular else keys
        return [self._group_of.get(name, key) for name, key in zip(own, keys, strict=True)]

    def _names(self, item: InputSpec, division: Division) -> list[str]:
        if division.players is None:
            return [item.name + "".join(f"[{i}]" for i in place) for place in np.ndindex(item.row_shape)]
        prefix = f"{item.name}: " if len(self.inputs) > 1 else ""
        return [f"{prefix}{player['player']}" for player in division.players]


def names_players(output: Mapping[str, Any]) -> bool:
    """Whether an explained output of an answer lists players."""
    lists = [x[0] for x in output["attributions"].values() if isinstance(x, list) and x]
    return "players" in output or any(isinstance(first, dict) and "player" in first for first in lists)


def by_player(output: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Name, attribution and standard error of each player of an output, in the order of the answer."""
    errors, found = output.get("standard_errors", {}), list[tuple[str, float, float]]()
    several = len(output["attributions"]) > 1
    for key, values in output["attributions"].items():
        of_key = errors.get(key)
        if isinstance(values, list) and isinstance(values[0], dict):
            label = "player" if "player" in values[0] else "token"
            prefix = f"{key}: " if several else ""
            found += [
                (prefix + each[label], each["value"], of_key[place]["value"] if of_key else 0.0)
                for place, each in enumerate(values)
            ]
            continue
        numbers, own = np.asarray(values), np.asarray(of_key if of_key is not None else np.zeros_like(values))
        found += [
            (key + "".join(f"[{i}]" for i in place), float(numbers[place]), float(own[place]))
            for place in np.ndindex(numbers.shape)
        ]
    return found + [(x["player"], x["value"], x.get("standard_error", 0.0)) for x in output.get("players", ())]


def _fault(place: str, words: str) -> InvalidInput:
    field = f"players.{place}" if place else "players"
    return InvalidInput(f'"{field}" {words}', field=field)


def _held(held: Any, names: Sequence[str]) -> frozenset[str]:
    if not isinstance(held, list):
        raise _fault(HOLD, "must be a list of inputs")
    for place, name in enumerate(held):
        if name not in names:
            raise _fault(f"{HOLD}[{place}]", f"must be one of the inputs: {', '.join(names)}")
    return frozenset(held)


def _players_of(item: InputSpec, given: Any, held: frozenset[str]) -> InputPlayers:
    if not isinstance(given, Mapping):
        raise _fault(item.name, "must be an object")
    if given and item.name in held:
        raise _fault(item.name, "is held, so it has no players; remove it here or from hold")
    try:
        players = InputPlayers.model_validate(given)
        check_words(item, players)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # Other parts of pydantic's place name types of a union.
        parts = [part for part in first["loc"] if isinstance(part, int) or part.isidentifier()]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
        words = first["msg"].removeprefix("Value error, ")
        raise _fault(f"{item.name}{path[:100]}", f"is not valid: {words[:1].lower()}{words[1:]}") from None
    except ValueError as error:
        place, _, words = str(error).partition(": ")
        raise _fault(f"{item.name}.{place}", f"is not valid: {words}") from None
    return players


def _form_bytes(form: AttributionForm) -> int:
    """The size of numbers in nested lists, each with two brackets and a comma."""
    shape = form.shape
    if form.tokens or form.players:
        return 0
    lists = sum(math.prod(shape[:depth]) for depth in range(len(shape)))
    return 3 * lists + NUMBER_BYTES * math.prod(shape)
