"""Trees of players: those of requests, and those that are found in a text, a picture, a series and a table."""

import numpy as np
import pytest

from tests.model.test_players import IMAGE, SERIES, SPANS, TABLE, TEXT, spec_of
from whyserve.errors import InvalidInput
from whyserve.model.hierarchy import MAX_DEPTH, Tree
from whyserve.model.players import Partition


def names(tree: Tree):
    """The tree as nested lists of names."""
    count = len(tree.players)

    def shown(node):
        return tree.players[node] if node < count else (tree.labels[node - count], list(map(shown, members(node))))

    def members(node):
        return tree.members[node - count]

    return list(map(shown, tree.members[-1]))


def natural(spec, players, background=None, row=None, texts=None):
    return names(Partition(spec, players).of(row or {}, texts or {}).tree(background or {}))


def table(count):
    return spec_of({"name": "x", "features": [{"name": f"f{number}"} for number in range(count)]})


def test_a_tree_of_a_request_has_groups_in_groups_and_loose_players_under_the_root():
    tree = {"body": ["size", "d"], "size": ["a", "b"]}
    spec = spec_of({"name": "x", "features": [{"name": each} for each in "abcd"]})
    found = Partition(spec, {"tree": tree}).fixed.tree({})
    assert names(found) == [("body", [("size", ["a", "b"]), "d"]), "c"]
    shown = found.described([1.0, 2.0, 4.0, 8.0], [0.1, 0.2])
    assert shown == [
        {"group": "body", "members": ["size", "d"], "value": 11.0, "standard_error": 0.2},
        {"group": "size", "members": ["a", "b"], "value": 3.0, "standard_error": 0.1},
    ]


def test_players_are_named_as_in_an_answer():
    tree = {"top": ["patch 0,0", "patch 0,1"]}
    found = Partition(spec_of(IMAGE), {"image": {"patches": [2, 2]}, "tree": tree}).fixed.tree({})
    assert names(found) == [("top", ["patch 0,0", "patch 0,1"]), "patch 1,0", "patch 1,1"]


@pytest.mark.parametrize(
    ("tree", "place", "words"),
    [
        ([], "players.tree", "must be an object"),
        ({}, "players.tree", "must be an object"),
        ({"s": []}, "players.tree.s", "must not be empty"),
        ({"s": "a"}, "players.tree.s", "must be a list"),
        (
            {"s": ["a", "z"]},
            "players.tree.s[1]",
            "neither a player nor a group of the tree; the first players: a, b, g",
        ),
        ({"s": ["a", 3]}, "players.tree.s[1]", "neither a player nor a group"),
        ({"s": ["a", "c"]}, "players.tree.s[1]", "neither a player nor a group"),
        ({"s": ["a"], "t": ["b", "a"]}, "players.tree.t[1]", 'already in the group "s"'),
        ({"s": ["a", "a"]}, "players.tree.s[1]", 'already in the group "s"'),
        ({"a": ["b"]}, "players.tree.a", "has the name of a player"),
        ({"s": ["s"]}, "players.tree.s", "cyclic"),
        ({"s": ["t", "a"], "t": ["u"], "u": ["s"]}, "players.tree.s", "cyclic"),
        ({f"{n}": [f"{n + 1}"] if n < MAX_DEPTH else ["a"] for n in range(MAX_DEPTH + 1)}, "players.tree", "levels"),
    ],
)
def test_a_wrong_tree_is_refused_with_its_place(tree, place, words):
    with pytest.raises(InvalidInput, match=words.replace("(", r"\(")) as refused:
        Partition(spec_of(TABLE), {"tree": tree})
    assert refused.value.details["field"].startswith(place)


def test_a_tree_needs_the_players_of_every_row():
    with pytest.raises(InvalidInput, match="differ from row to row") as refused:
        Partition(spec_of(TEXT), {"t": {"words": True}, "tree": {"s": ["a"]}})
    assert refused.value.details["field"] == "players.tree"


def test_an_input_may_be_called_tree():
    spec = spec_of({**IMAGE, "name": "tree"})
    found = Partition(spec, {"tree": {"patches": [2, 2]}}).fixed
    assert found.count == 4
    assert len(found.tree({}).labels) == 0


def test_patches_are_in_quadrants():
    spec = spec_of({"name": "image", "kind": "image", "shape": [8, 8, 3]})
    found = natural(spec, {"image": {"patches": [4, 4]}})
    assert [label for label, _ in found] == [
        "rows 0 to 3, columns 0 to 3", "rows 0 to 3, columns 4 to 7",
        "rows 4 to 7, columns 0 to 3", "rows 4 to 7, columns 4 to 7",
    ]  # fmt: skip
    assert found[1][1] == ["patch 0,2", "patch 0,3", "patch 1,2", "patch 1,3"]
    pixels = natural(spec, {"image": {"elements": True}})
    assert [len(members) for _, members in pixels] == [4] * 4
    assert pixels[0][1][0][0] == "rows 0 to 1, columns 0 to 1"


def test_windows_are_in_halves():
    found = natural(spec_of({"name": "past", "kind": "sequence", "shape": [8]}), {"past": {"windows": 4}})
    assert found == [
        ("steps 0 to 3", ["steps 0 to 1", "steps 2 to 3"]), ("steps 4 to 7", ["steps 4 to 5", "steps 6 to 7"]),
    ]  # fmt: skip


def test_words_are_in_sentences():
    text = "Too late. It was cold!"
    spans = [("too", 0, 3), ("late", 4, 8), (".", 8, 9), ("it", 10, 12), ("was", 13, 16), ("cold", 17, 21)]
    texts = {"t": SPANS.model_copy(update={"tokens": tuple(spans), "places": tuple(range(6)), "words": tuple(range(6)),
                                           "text": text})}  # fmt: skip
    found = natural(spec_of(TEXT), {"t": {"words": True}}, texts=texts)
    assert found == [("sentence 1", ["Too", "late", "."]), ("sentence 2", ["It", "was", "cold"])]


def test_inputs_are_groups_of_their_own():
    found = natural(spec_of(IMAGE, SERIES), {"image": {"patches": [1, 2]}, "past": {"windows": 1}})
    assert found == [("image", ["image: patch 0,0", "image: patch 0,1"]), "past: steps 0 to 4"]


def test_correlated_features_are_clusters_within_clusters():
    """f0 and f1 are almost equal, and f2 is like them; f3 is the opposite of f4; f5 is constant, f6 has gaps."""
    rng = np.random.default_rng(0)
    base, other, noise = rng.normal(size=(3, 200))
    columns = [base, base + 0.05 * noise, base + 0.9 * noise, other, -other, np.ones(200), rng.normal(size=200)]
    x = np.stack(columns, 1).astype(np.float32)
    x[:20, 6] = np.nan
    assert natural(table(7), {}, {"x": x}) == [
        ("cluster 1", [("cluster 1.1", ["f0", "f1"]), "f2"]), ("cluster 2", ["f3", "f4"]), "f5", "f6",
    ]  # fmt: skip
    assert natural(table(7), {}, {"x": x[:2]}) == [f"f{number}" for number in range(7)]
    grouped = natural(table(7), {"groups": {"pair": ["f1", "f6"]}}, {"x": x})
    assert grouped[0] == ("cluster 1", [("cluster 1.1", ["f0", "pair"]), "f2"])
