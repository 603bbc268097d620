"""The search of counterfactuals, against every combination of a small grid."""

import itertools
import time

import numpy as np
import pytest

from whyserve.errors import InvalidInput
from whyserve.model.changes import Change, check_changes
from whyserve.model.distances import Distances
from whyserve.model.fill import FilledWith
from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.spec import ModelSpec, OutputSpec
from whyserve.predict.counterfactuals import Search

COLUMNS = ("a", "b", "c")
ONE_HOT = tuple(Feature(name=f"on_{place}", group="place") for place in range(3))
SPEC = ModelSpec(
    name="m",
    framework="torch",
    task="regression",
    inputs=(
        InputSpec(name="x", features=tuple(Feature(name=name) for name in COLUMNS)),
        InputSpec(name="y", features=ONE_HOT),
    ),
    output=OutputSpec(names=("z",), scores="values"),
)
RNG = np.random.default_rng(0)
BACKGROUND = {
    "x": RNG.gamma(2.0, size=(200, 3)).astype(np.float32),
    "y": np.eye(3, dtype=np.float32)[RNG.integers(0, 3, 200)],
}
SEARCH = Search(SPEC, BACKGROUND)
ROW = {"x": np.array([[1.0, 1.0, 1.0]], np.float32), "y": np.eye(3, dtype=np.float32)[:1]}


def above(limit, *weights):
    """Crosses where the weighted sum of the features is above the limit."""
    return lambda rows: limit - np.concatenate([rows["x"], rows["y"]], axis=1) @ np.array([*weights, 0, 0, 0])


def test_a_missing_value_is_as_far_from_a_number_as_another_category():
    lacking = BACKGROUND["x"].copy()
    lacking[::4, 0] = np.nan
    search = Search(SPEC, {**BACKGROUND, "x": lacking})
    gaps = search.distances.between(np.array([[np.nan] * 6]), np.array([[np.nan] * 6, [1.0] * 6]), range(3))
    assert gaps.tolist() == [0.0, 3.0]
    row = {**ROW, "x": np.array([[np.nan, 1.0, 1.0]], np.float32)}

    def crosses(rows):
        x = rows["x"]
        return np.where(np.isnan(x[:, 0]) | (x[:, 1] <= 1), 1.0, -1.0)

    found = search(row, crosses, [], count=2)
    assert len(found.rows) == 1
    assert found.rows[0, 0] > 0
    assert found.rows[0, 1] > 1
    assert 1 < found.distances[0] < 2


def test_the_nearest_single_change_is_found_to_the_fine_ladder():
    found = SEARCH(ROW, above(4.0, 1, 1, 1), [], count=3)
    assert len(found.rows) == 3
    # One feature must become 2: the nearest is the one with the fewest background rows between 1 and 2.
    shares = [((BACKGROUND["x"][:, place] > 1) & (BACKGROUND["x"][:, place] < 2)).mean() for place in range(3)]
    changed = [int(np.flatnonzero(row[:3] != 1)[0]) for row in found.rows]
    assert sorted(changed) == [0, 1, 2]
    assert all(found.rows[place, column] > 2 for place, column in enumerate(changed))
    assert found.distances == pytest.approx(sorted(shares), abs=0.03)


@pytest.mark.parametrize("weights", [(1, 1, 0), (1, 0.5, 0.2), (-1, 1, 0.3)])
def test_two_and_three_changes_are_as_near_as_the_best_of_a_grid(weights):
    """A limit that no single change reaches."""
    top = max(
        (weight * (values.max() if weight > 0 else values.min()) - weight)
        for weight, values in zip(weights, BACKGROUND["x"].T, strict=True)
    )
    crosses = above(sum(weights) + 1.02 * top, *weights)
    found = SEARCH(ROW, crosses, [], count=1)
    levels = [np.quantile(column, np.linspace(0, 1, 25)) for column in BACKGROUND["x"].T]
    grid = np.array(list(itertools.product(*levels)), np.float32)
    grid = np.concatenate([grid, np.repeat(ROW["y"], len(grid), axis=0)], axis=1).astype(np.float64)
    start = SEARCH.distances.table(ROW)
    two = [grid.copy() for _ in range(3)]
    for place, part in enumerate(two):
        part[:, place] = 1
    grid = np.concatenate(two)
    grid = grid[crosses(SEARCH.distances.arrays(grid)) < 0]
    best = SEARCH.distances.between(grid, start, range(6)).min()
    assert (found.rows[0] != start[0]).sum() == 2
    assert crosses(SEARCH.distances.arrays(found.rows))[0] < 0
    assert found.distances[0] <= best + 0.05


def test_directions_steps_ranges_and_groups_hold():
    def of(**change):
        return {"a": Change(**change), "b": Change(fixed=True), "c": Change(fixed=True)}

    assert not len(SEARCH(ROW, above(4.0, 1, 1, 1), [of(only="down")], count=3).rows)
    (row,) = SEARCH(ROW, above(4.0, 1, 1, 1), [of(step=0.75)], count=3).rows
    assert row[0] == 2.5
    assert not len(SEARCH(ROW, above(4.0, 1, 1, 1), [of(range=(0, 1.5))], count=3).rows)
    assert not len(SEARCH(ROW, above(4.0, 1, 1, 1), [of(), {"a": Change(fixed=True)}], count=3).rows)
    both = [of(step=0.75), {"a": Change(step=0.5)}]
    (row,) = SEARCH(ROW, above(4.0, 1, 1, 1), both, count=3).rows
    assert row[0] == 2.5  # 1 and a multiple of 1.5
    assert not len(SEARCH(ROW, above(4.0, 1, 1, 1), [of(step=1e300), {"a": Change(step=0.1)}], count=1).rows)
    assert not len(SEARCH(ROW, above(4.0, 1, 1, 1), [of(step=1e-320, range=(-1e300, 1.5))], count=1).rows)
    place = SEARCH(ROW, lambda rows: 0.5 - rows["y"][:, 2], [], count=2)
    assert place.rows[:, 3:].tolist() == [[0, 0, 1]]  # the group changes as a whole


def test_a_deadline_ends_the_search():
    found = SEARCH(ROW, lambda rows: np.ones(len(rows["x"])), [], count=1, deadline=time.monotonic())
    assert (len(found.rows), found.complete) == (0, False)


def test_a_change_that_a_feature_cannot_have_is_refused():
    for changes, place in (({"d": Change()}, "here.d"), ({"place": Change(only="up")}, "here.place")):
        with pytest.raises(InvalidInput) as caught:
            check_changes(SPEC, changes, "here")
        assert caught.value.details["field"] == place


def test_a_distance_counts_background_rows_between_two_numbers_and_goes_on_outside():
    spec = ModelSpec(
        name="m", framework="torch", task="regression", output=SPEC.output,
        inputs=(InputSpec(name="x", features=(Feature(name="a"),)),),
    )  # fmt: skip
    distances = Distances(spec, {"x": np.arange(10.0, dtype=np.float32)[:, None]})
    assert distances.between(np.array([[2.0]]), np.array([[7.0]]), [0]) == pytest.approx(0.5)
    assert distances.between(np.array([[9.0]]), np.array([[18.0]]), [0]) == pytest.approx(1)
    assert distances.more_unusual(np.array([[4.5], [30.0]])).tolist() == [1.0, 0.0]


def test_only_numbers_that_the_network_takes_are_tried():
    features = (Feature(name="id"), Feature(name="age", missing=FilledWith(fill=0)))
    spec = ModelSpec(
        name="m", framework="torch", task="regression", output=SPEC.output,
        inputs=(InputSpec(name="x", dtype="uint8", features=features),),
    )  # fmt: skip
    search = Search(spec, {"x": np.array([[1, 1], [2, 2], [3, 3]], np.uint8)}, {"id": 8})
    tried = []

    def crosses(rows):
        tried.append(rows["x"])
        return np.ones(len(rows["x"]))

    wide = {"id": Change(range=(-1e300, 1e300)), "age": Change(range=(-1e300, 1e300))}
    search({"x": np.array([[1, 1]], np.uint8)}, crosses, [wide], count=1)
    rows = np.concatenate(tried)
    assert (rows[:, 0].min(), rows[:, 0].max()) == (0, 7)
    assert rows[:, 1].min() == 0
    assert 200 < rows[:, 1].max() < 255  # 255 stands for a missing value


@pytest.mark.parametrize("seed", range(3))
def test_the_kth_nearest_rows_are_those_of_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    rows = {"x": rng.normal(size=(30, 3)).astype(np.float32), "y": np.eye(3, dtype=np.float32)[rng.integers(0, 3, 30)]}
    rows["x"][::7, 1] = np.nan
    distances = Distances(SPEC, rows)
    table = np.concatenate([rows["x"], rows["y"]], axis=1)

    def apart(one, other):
        total = 0.0
        for place in range(3):
            if np.isnan(one[place]) or np.isnan(other[place]):
                total += np.isnan(one[place]) != np.isnan(other[place])
                continue
            known = np.sort(table[~np.isnan(table[:, place]), place])
            ranks = [np.flatnonzero(known == value)[0] / len(known) for value in (one[place], other[place])]
            total += abs(ranks[0] - ranks[1])
        return total + 0.5 * (one[3:] != other[3:]).sum()

    expected = np.array([[apart(one, other) for other in table] for one in table])
    assert distances.to_background(table.astype(float)) == pytest.approx(expected, abs=1e-6)
    nearest = np.sort(expected, axis=1)
    shares = [(nearest[:, 5] > row[4] + 1e-9).mean() for row in nearest]
    assert distances.more_unusual(table.astype(float)) == pytest.approx(shares, abs=1e-9)
