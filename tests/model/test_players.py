"""The vocabulary of players, and the refusals of what does not fit a model."""

import json
from typing import Any

import numpy as np
import pytest

from whyserve.errors import InvalidInput
from whyserve.model.input_spec import InputSpec
from whyserve.model.players import Partition, by_player
from whyserve.model.spec import ExplainSpec, ModelSpec, OutputSpec
from whyserve.model.text import TokenSpans
from whyserve.model.vocabulary import NOBODY


def spec_of(*inputs: dict[str, Any], **explain: Any) -> ModelSpec:
    return ModelSpec(
        name="m",
        framework="torch",
        task="regression",
        inputs=tuple(InputSpec.model_validate(each) for each in inputs),
        output=OutputSpec(names=("y",), scores="values"),
        explain=ExplainSpec(**explain),
    )


IMAGE = {"name": "image", "kind": "image", "shape": [4, 6, 3]}
SERIES = {"name": "past", "kind": "sequence", "shape": [5, 2]}
TEXT = {"name": "t", "kind": "tokens", "dtype": "int64", "shape": [6], "tokenizer": "tokenizer.json"}
TABLE = {
    "name": "x",
    "features": [{"name": "a"}, {"name": "b"}, {"name": "c", "group": "g"}, {"name": "d", "group": "g"}],
}
TENSOR = {"name": "z", "kind": "tensor", "shape": [2, 3]}


def listed(spec, players, name):
    row = Partition(spec, players).fixed
    return row, row.described(np.arange(float(row.count)))["attributions"][name]


def test_patches_are_boxes_and_each_pixel_has_one():
    row, shares = listed(spec_of(IMAGE), {"image": {"patches": [2, 3]}}, "image")
    assert [share["box"] for share in shares[:3]] == [[0, 0, 2, 2], [0, 2, 2, 4], [0, 4, 2, 6]]
    for share in shares:
        top, left, bottom, right = share["box"]
        assert (row.numbers["image"][top:bottom, left:right] == share["value"]).all()
    assert row.count == len(shares) == 6


def test_a_patch_of_pixels_leaves_a_smaller_one_at_the_edge():
    _, shares = listed(spec_of(IMAGE), {"image": {"patch": [3, 4]}}, "image")
    assert [share["box"] for share in shares] == [[0, 0, 3, 4], [0, 4, 3, 6], [3, 0, 4, 4], [3, 4, 4, 6]]


@pytest.mark.parametrize("shape", [[4, 6, 3], [3, 4, 6]], ids=["channels last", "channels first"])
def test_channels_are_players_alone_or_of_every_patch(shape):
    spec = spec_of({**IMAGE, "shape": shape})
    row, shares = listed(spec, {"image": {"channels": ["red", "green", "blue"]}}, "image")
    assert [share["player"] for share in shares] == ["red", "green", "blue"]
    axis = shape.index(3)
    assert (np.moveaxis(row.numbers["image"], axis, -1) == [0, 1, 2]).all()
    _, shares = listed(spec, {"image": {"channels": True, "patches": [1, 2]}}, "image")
    assert [share["player"] for share in shares][:2] == ["channel 0, patch 0,0", "channel 1, patch 0,0"]


def test_a_label_mask_names_regions_and_comes_back_as_runs():
    mask = [[7, 7, 7, 2, 2, 2]] * 4
    row, shares = listed(spec_of(IMAGE), {"image": {"mask": mask}}, "image")
    assert [share["label"] for share in shares] == [2, 7]
    assert (row.numbers["image"][..., 0] == (np.array(mask) == 7)).all()
    assert row.facts["masks"]["image"] == {"shape": [4, 6], "runs": [[7, 3], [2, 3]] * 4}


def test_superpixels_follow_the_picture_and_are_the_same_every_time():
    picture = np.zeros((16, 16), np.float32)
    picture[:, 8:] = 1
    partition = Partition(spec_of({**IMAGE, "shape": [16, 16]}), {"image": {"superpixels": 4}})
    assert partition.follows_rows
    first, second = (partition.of({"image": picture}, {}) for _ in range(2))
    np.testing.assert_array_equal(first.numbers["image"], second.numbers["image"])
    left, right = (set(half.ravel()) for half in np.split(first.numbers["image"], 2, axis=1))
    assert not left & right


def test_windows_are_of_all_channels_or_of_each():
    row, shares = listed(spec_of(SERIES), {"past": {"windows": 2}}, "past")
    assert [(share["start"], share["end"]) for share in shares] == [(0, 2), (2, 5)]
    assert row.numbers["past"].tolist() == [[0, 0]] * 2 + [[1, 1]] * 3
    row, shares = listed(spec_of(SERIES), {"past": {"window": 4, "channels": ["rain", "sun"]}}, "past")
    assert [share["player"] for share in shares] == [
        "rain, steps 0 to 3", "sun, steps 0 to 3", "rain, step 4", "sun, step 4"
    ]  # fmt: skip
    assert row.numbers["past"].tolist() == [[0, 1]] * 4 + [[2, 3]]


def test_step_names_name_steps_and_windows():
    names = ["Mon", "Tue", "Wed", "Thu", "Fri"]
    _, shares = listed(spec_of(SERIES), {"past": {"step_names": names}}, "past")
    assert [share["player"] for share in shares] == names
    _, shares = listed(spec_of(SERIES), {"past": {"step_names": names, "windows": 2}}, "past")
    assert [share["player"] for share in shares] == ["Mon to Tue", "Wed to Fri"]


SPANS = TokenSpans(
    tokens=(("[CLS]", 0, 0), ("Un", 0, 2), ("##do", 2, 4), (".", 4, 5), ("Yes", 6, 9), ("[PAD]", 9, 9)),
    places=(0, 1, 2, 3, 4, 5),
    words=(None, 0, 0, 1, 2, None),
    text="Undo. Yes",
)


@pytest.mark.parametrize(
    ("word", "numbers", "labels"),
    [
        ("words", [0, 0, 1, 2], ["Undo", ".", "Yes"]),
        ("sentences", [0, 0, 0, 1], ["Undo.", "Yes"]),
        ("tokens", [0, 1, 2, 3], ["Un", "##do", ".", "Yes"]),
    ],
)
def test_special_tokens_and_padding_are_no_players_of_a_text(word, numbers, labels):
    partition = Partition(spec_of(TEXT), {"t": {word: True}})
    row = partition.of({}, {"t": SPANS})
    assert row.numbers["t"].tolist() == [NOBODY, *numbers, NOBODY]
    shares = row.described(np.arange(float(row.count)))["attributions"]["t"]
    assert [share["player"] for share in shares] == labels
    if word != "tokens":
        assert [SPANS.text[share["start"] : share["end"]] for share in shares] == labels


def test_a_group_has_members_in_several_inputs():
    row = Partition(spec_of(TABLE, SERIES), {"groups": {"all": ["b", "past"]}}).fixed
    assert row.numbers["x"].tolist() == [0, 1, 2, 2]
    assert (row.numbers["past"] == 1).all()
    assert row.described(np.array([1.0, 2.0, 3.0])) == {
        "attributions": {"a": 1.0, "g": 3.0},
        "players": [{"player": "all", "value": 2.0, "members": ["b", "past"]}],
    }


def test_a_table_may_name_its_own_groups_by_number_or_name():
    spec = spec_of(TABLE)
    one, other = (Partition(spec, {"x": {"groups": {"h": members}}}).fixed for members in (["a", "b"], [0, 1]))
    assert one.names == other.names == ("h", "g")


def test_groups_on_an_axis_of_a_tensor():
    row, shares = listed(spec_of(TENSOR), {"z": {"axis": 1, "groups": {"ends": [0, 2]}}}, "z")
    assert row.numbers["z"].tolist() == [[0, 1, 0]] * 2
    assert [(share["player"], share["members"]) for share in shares] == [("ends", [0, 2]), ("z[1]", [1])]
    row, _ = listed(spec_of(TENSOR), {"z": {"axis": 0, "groups": {"first": [0]}}}, "z")
    assert row.numbers["z"].tolist() == [[0] * 3, [1] * 3]


def test_a_held_input_has_no_player():
    row = Partition(spec_of(TABLE, SERIES), {"hold": ["past"]}).fixed
    assert (row.numbers["past"] == NOBODY).all()
    assert row.described(np.arange(3.0)) == {"attributions": {"a": 0.0, "b": 1.0, "g": 2.0}}


def test_players_of_model_toml_are_the_default_and_elements_are_available():
    spec = spec_of(IMAGE, players={"image": {"patches": [2, 2]}})
    assert Partition(spec).fixed.count == 4
    assert Partition(spec, {"image": {"elements": True}}).fixed.count == Partition(spec, {}).fixed.count == 72
    with pytest.raises(ValueError, match=r"explain: \"players.image.patches\" is not valid"):
        spec_of(IMAGE, players={"image": {"patches": [9, 9]}})


def test_the_players_of_an_answer_are_found_by_name():
    row = Partition(spec_of(TABLE, SERIES), {"past": {"windows": 2}, "x": {"groups": {"h": ["a", "b"]}}}).fixed
    output = row.described(np.arange(float(row.count)))
    assert sorted(by_player(output)) == sorted(zip(row.names, np.arange(4.0), [0.0] * 4, strict=True))


ALL = spec_of(IMAGE, SERIES, TEXT, TABLE, TENSOR)


@pytest.mark.parametrize(
    ("players", "field"),
    [
        ({"picture": {}}, "players"),
        ({"image": 3}, "players.image"),
        ({"image": {"patchs": [2, 2]}}, "players.image.patchs"),
        ({"image": {"patches": [2, 7]}}, "players.image.patches"),
        ({"image": {"patches": [0, 2]}}, "players.image.patches[0]"),
        ({"image": {"patches": [2]}}, "players.image.patches"),
        ({"image": {"patches": [True, 2]}}, "players.image.patches[0]"),
        ({"image": {"patches": [2, 2], "patch": [2, 2]}}, "players.image"),
        ({"image": {"superpixels": 10**9}}, "players.image.superpixels"),
        ({"image": {"mask": [[0, 1]]}}, "players.image.mask"),
        ({"image": {"mask": [[-1] * 6] * 4}}, "players.image.mask[0][0]"),
        ({"image": {"mask": []}}, "players.image.mask"),
        ({"image": {"channels": ["a"]}}, "players.image.channels"),
        ({"image": {"channels": ["a", "a", "b"]}}, "players.image.channels"),
        ({"image": {"absent": "nothing"}}, "players.image.absent"),
        ({"image": {"absent": float("nan")}}, "players.image.absent"),
        ({"image": {"words": True}}, "players.image.words"),
        ({"t": {"absent": "blur", "words": True}}, "players.t.absent"),
        ({"t": {"absent": 3, "words": True}}, "players.t.absent"),
        ({"t": {"absent": "mask"}}, "players.t.absent"),
        ({"image": {"absent": "removal"}}, "players.image.absent"),
        ({"t": {"words": False}}, "players.t.words"),
        ({"past": {"windows": 6}}, "players.past.windows"),
        ({"past": {"window": 0}}, "players.past.window"),
        ({"past": {"step_names": ["a"]}}, "players.past.step_names"),
        ({"x": {"groups": {"h": ["a", "e"]}}}, "players.x.groups.h"),
        ({"x": {"groups": {"h": ["a"], "i": ["a"]}}}, "players.x.groups.i"),
        ({"x": {"groups": {"h": []}}}, "players.x.groups.h"),
        ({"x": {"groups": {"h": [4]}}}, "players.x.groups.h"),
        ({"x": {"groups": {"b": ["a"]}}}, "players.x.groups.b"),
        ({"x": {"axis": 0}}, "players.x"),
        ({"z": {"groups": {"h": [0]}, "axis": 2}}, "players.z.axis"),
        ({"groups": ["a"]}, "players.groups"),
        ({"groups": {"h": ["e"]}}, "players.groups.h"),
        ({"groups": {"h": ["a", "a"]}}, "players.groups.h"),
        ({"groups": {"h": "a"}}, "players.groups.h"),
        ({"groups": {"h": ["past"]}, "past": {"windows": 2}}, "players.past"),
        ({"hold": "past"}, "players.hold"),
        ({"hold": ["past", "future"]}, "players.hold[1]"),
        ({"hold": ["past"], "past": {"windows": 2}}, "players.past"),
        ({"hold": ["image", "past", "t", "x", "z"]}, "players.hold"),
        ({"hold": ["past"], "groups": {"h": ["past", "a"]}}, "players.groups.h"),
    ],
    ids=json.dumps,
)
def test_wrong_players_are_refused_with_their_place(players, field):
    with pytest.raises(InvalidInput) as caught:
        Partition(ALL, players)
    assert caught.value.details["field"] == field
    assert caught.value.message.startswith(f'"{field}"')
