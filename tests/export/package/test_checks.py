"""No wrong mapping is served silently: categories, columns, scaling and folders that hold another model."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import whyserve
from tests.pictures import text_of
from whyserve.errors import InvalidInput, ModelFault, WhyserveError
from whyserve.export.package.package import package
from whyserve.model.spec import read_spec

PLANS = ["premium", "plus", "basic"]  # the order of training, which is not the alphabet's


class Churn(nn.Module):
    """Numbers and one category, by an embedding with as many entries as there are plans."""

    def __init__(self, entries: int = len(PLANS)):
        super().__init__()
        torch.manual_seed(3)
        self.plan = nn.Embedding(entries, 2)
        self.exit = nn.Linear(3, 2)

    def forward(self, numbers, plan):
        return torch.softmax(self.exit(torch.cat([numbers, self.plan(plan[:, 0])], 1)), -1)


def table(rows: int = 40, plans: tuple[str, ...] = ("basic", "premium")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"months": rng.normal(size=rows), "plan": rng.choice(plans, rows)})


def answers(network: nn.Module, frame: pd.DataFrame) -> np.ndarray:
    """The original's answers, with its own numbering of plans."""
    codes = torch.tensor([[PLANS.index(plan)] for plan in frame["plan"]])
    with torch.no_grad():
        found: np.ndarray = network(torch.tensor(frame[["months"]].to_numpy(np.float32)), codes).numpy()
        return found


def packaged(tmp_path, background, **more):
    return package(
        more.pop("network", Churn()), tmp_path / "models" / "churn", background=background, labels=["stays", "leaves"],
        artifacts=tmp_path / "artifacts", **more,
    )  # fmt: skip


def test_categories_have_the_order_that_the_network_was_trained_with(tmp_path):
    network, frame = Churn(), table()
    report = packaged(tmp_path, frame, network=network, categories={"plan": PLANS}, expected=answers(network, frame))
    assert "plan: 0 premium, 1 plus, 2 basic" in repr(report)
    assert "labels of the 40 background rows: stays " in repr(report)
    model = whyserve.load(tmp_path / "models" / "churn", tmp_path / "artifacts")
    asked = pd.DataFrame({"months": [0.5, 0.5], "plan": ["plus", "basic"]})  # plus is not in the background
    served = [[each["scores"][label] for label in ("stays", "leaves")] for each in model.predict(asked)]
    np.testing.assert_allclose(served, answers(network, asked), atol=1e-6)


def test_text_without_an_order_is_refused_with_the_argument_to_add(tmp_path):
    with pytest.raises(InvalidInput) as caught:
        packaged(tmp_path, table())
    assert 'add categories={"plan": [' in caught.value.message
    assert "in the order that the network was trained with" in caught.value.message
    with pytest.raises(InvalidInput, match="the order of the categories is not known for the columns plan"):
        whyserve.Explainer(Churn(), table())
    with pytest.raises(InvalidInput, match="the order of the categories is not known"):
        whyserve.medoids(Churn(), table(), rows=5)


@pytest.mark.parametrize("plans", [["premium", "basic"], [*PLANS, "trial"]], ids=["one too few", "one too many"])
def test_a_count_that_differs_from_the_embedding_s_is_refused(tmp_path, plans):
    with pytest.raises(InvalidInput, match=f"has {len(plans)} categories, but the network takes the codes 0 to 2"):
        packaged(tmp_path, table(), categories={"plan": plans})
    assert not (tmp_path / "models" / "churn").exists()


def test_wrong_categories_are_named(tmp_path):
    with pytest.raises(InvalidInput, match='categories of "plan" lack basic, which the background holds'):
        packaged(tmp_path, table(), categories={"plan": ["premium", "plus", "bronze"]})
    with pytest.raises(InvalidInput, match="name a category twice"):
        packaged(tmp_path, table(), categories={"plan": [*PLANS, "plus"]})
    with pytest.raises(InvalidInput, match='categories names "colour", which is not a column'):
        packaged(tmp_path, table(), categories={"plan": PLANS, "colour": ["red"]})


def test_answers_of_the_original_show_a_wrong_order(tmp_path):
    network, frame = Churn(), table()
    wrong = {"plan": sorted(PLANS)}
    with pytest.raises(ModelFault, match="check the order of the columns, the order of the categories"):
        packaged(tmp_path, frame, network=network, categories=wrong, expected=answers(network, frame))
    with pytest.raises(ModelFault, match="a request gets"):
        packaged(tmp_path, frame, network=network, categories=wrong, expected=lambda rows: answers(network, rows))
    with pytest.raises(InvalidInput, match="expected has shape"):
        packaged(tmp_path, frame, network=network, categories={"plan": PLANS}, expected=np.zeros((40, 5)))
    assert not (tmp_path / "models" / "churn").exists()
    assert not (tmp_path / "artifacts" / "churn").exists()


def test_every_column_at_fault_is_named_at_once(tmp_path):
    frame = table().assign(city="Bonn", joined=pd.Timestamp("2026-01-01"), debt=1.0, age=2.0)
    with pytest.raises(InvalidInput, match="columns with dates: joined; replace each by numbers"):
        packaged(tmp_path, frame)
    frame.loc[3, "age"] = frame.loc[5, "debt"] = np.nan
    with pytest.raises(InvalidInput, match=r"missing values: debt \(first in row 5\), age \(first in row 3\)"):
        packaged(tmp_path, frame)
    with pytest.raises(InvalidInput, match="for the columns plan, city; add"):
        packaged(tmp_path, table().assign(city="Bonn"))
    twice = pd.concat([table(), table()[["months"]]], axis=1)
    with pytest.raises(InvalidInput, match="duplicate columns: months"):
        packaged(tmp_path, twice, categories={"plan": PLANS})


@pytest.mark.slow
def test_a_folder_that_holds_another_model_is_kept(tmp_path):
    packaged(tmp_path, table(), categories={"plan": PLANS})
    before = read_spec(tmp_path / "models" / "churn")
    other = nn.Sequential(nn.Linear(4, 2), nn.Softmax(-1))
    rows = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    with pytest.raises(ModelFault, match="holds a model with other inputs and categories; choose another folder, or"):
        packaged(tmp_path, rows, network=other)
    assert read_spec(tmp_path / "models" / "churn") == before
    packaged(tmp_path, rows, network=other, overwrite=True)
    assert read_spec(tmp_path / "models" / "churn") != before
    # The same model again, better trained, needs no permission.
    packaged(tmp_path, rows, network=nn.Sequential(nn.Linear(4, 2), nn.Softmax(-1)))


def test_a_folder_where_the_service_does_not_look_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WHYSERVE_MODELS", str(tmp_path / "models"))
    with pytest.raises(ModelFault, match="use models/churn"):
        package(Churn(), tmp_path / "models" / "team" / "churn", background=table(), labels=["a", "b"])
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_a_background_that_says_little_is_reported(tmp_path):
    linear = nn.Linear(2, 2)
    nn.init.zeros_(linear.weight)
    constant = nn.Sequential(linear, nn.Softmax(-1))
    report = packaged(tmp_path, np.random.default_rng(0).normal(size=(20, 2)), network=constant)
    assert "the output is nearly the same for every row of the background" in repr(report)
    report = packaged(tmp_path, np.ones((1, 2)), network=nn.Sequential(nn.Linear(2, 2), nn.Softmax(-1)))
    assert "the background has one row" in repr(report)
    frame = table(6).assign(plan=[f"p{number}" for number in range(6)])
    report = packaged(
        tmp_path, frame, network=Churn(6), categories={"plan": list(frame["plan"])}, overwrite=True,
    )  # fmt: skip
    assert 'column "plan" has 6 categories in 6 rows: is it an identifier?' in repr(report)


class Eye(nn.Module):
    """Takes pictures as torchvision normalises them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.seen, self.exit = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, image):
        return torch.softmax(self.exit(torch.relu(self.seen(image)).mean((2, 3))), -1)


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
RANGES = {"image": list(zip(-MEAN / STD, (1 - MEAN) / STD, strict=True))}
LEVELS = np.random.default_rng(2).integers(0, 256, (12, 6, 6, 3))


def normalised(levels: np.ndarray) -> np.ndarray:
    found: np.ndarray = ((levels / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    return found


def test_a_normalised_picture_is_the_same_as_png_and_as_tensor(tmp_path):
    network, rows = Eye(), normalised(LEVELS)
    with torch.no_grad():
        answers = network(torch.tensor(rows)).numpy()
    report = packaged(tmp_path, {"image": rows}, network=network, ranges=RANGES, expected=answers)
    assert "pictures" not in repr(report)
    model = whyserve.load(tmp_path / "models" / "churn", tmp_path / "artifacts")
    for sent in (text_of(LEVELS[0]), rows[0].tolist()):
        scores = model.predict([{"image": sent}])[0]["scores"]
        np.testing.assert_allclose(list(scores.values()), answers[0], atol=1e-6)
    explained = model.explain([{"image": text_of(LEVELS[0])}])
    assert "<svg" in explained._repr_html_() or "<img" in explained._repr_html_()


@pytest.mark.slow
def test_pictures_that_cannot_be_compared_are_named(tmp_path):
    network, rows = Eye(), normalised(LEVELS) + np.float32(0.001)
    with torch.no_grad():
        answers = network(torch.tensor(rows)).numpy()
    report = packaged(tmp_path, {"image": rows}, network=network, ranges=RANGES, expected=answers)
    assert 'input "image": `expected` was compared with requests of numbers, not of pictures' in repr(report)
    for wrong in ([0, 1, 2], [(1, 0)] * 3, "black", [(0, 1)] * 2):
        with pytest.raises(WhyserveError, match="range"):
            packaged(tmp_path, {"image": rows}, network=network, ranges={"image": wrong})


def test_the_report_shows_one_row_as_a_request_with_its_answer_and_reasons(tmp_path):
    network, frame = Churn(), table()
    report = packaged(tmp_path, frame, network=network, categories={"plan": PLANS})
    lines = dict(line.split(maxsplit=1) for line in repr(report).splitlines())
    sent = json.loads(lines["request"])
    assert sent["instances"] == [{"months": pytest.approx(frame["months"][0], rel=1e-5), "plan": frame["plan"][0]}]
    scores = json.loads(lines["answer"])["scores"]
    np.testing.assert_allclose(list(scores.values()), answers(network, frame[:1])[0], rtol=1e-4)
    explained = whyserve.load(tmp_path / "models" / "churn", tmp_path / "artifacts").explain(sent["instances"])
    top = max(scores, key=lambda label: float(scores[label]))
    by_name = dict(zip(explained.feature_names or (), np.asarray(explained.values)[0].ravel(), strict=True))
    shares = [f"{name} {by_name[name]:+.4g}" for name in sorted(by_name, key=lambda name: -abs(by_name[name]))]
    assert lines["reasons"] == f"{top}: {', '.join(shares)}"
