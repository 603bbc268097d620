"""`whyserve.Explainer`: the explanation engine in this process, without a service and without a model folder."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from whyserve.errors import InvalidInput
from whyserve.explain.certificate.certify import certify
from whyserve.explain.game.base import Attribution, Limits
from whyserve.explain.game.base import Explainer as Method
from whyserve.explain.game.network import Network
from whyserve.explain.models.explainable import to_tensors
from whyserve.explain.models.on_scale import ending_of, network_on
from whyserve.explain.models.row_games import game_players, prepared
from whyserve.explain.worker.results import Explained, describe_output
from whyserve.export.package.output_choice import OutputChoice
from whyserve.jobs import GivenBackground
from whyserve.model.choice import MethodChoice, check_standard_error, choose_auto
from whyserve.model.methods import BUDGET_MAX_MS, BUDGET_MS, MEASURED_METHODS, check_method, method_of_interactions
from whyserve.model.missing import Gaps, fills_of
from whyserve.model.outputs import NOTHING_ON, Output, Outputs, same_length
from whyserve.model.players import Partition
from whyserve.model.rows import Arrays, RowReader
from whyserve.model.scale import Scale, scale_facts, scale_of
from whyserve.model.spec import ScaleName, Task
from whyserve.notebook.boundary import short_errors
from whyserve.notebook.explanation import Explanation
from whyserve.notebook.in_memory import in_memory
from whyserve.notebook.pictures import drawn
from whyserve.notebook.progress import progress_bar
from whyserve.notebook.rows import exact_instances, read_rows
from whyserve.predict.counterfactuals import Search
from whyserve.predict.decisions import Deciding, read_options

# kernel is there for comparison: permutation is closer to exact values in less time.
MEASURED = tuple(name for name in MEASURED_METHODS if name != "kernel")


class Explainer:
    """Explains a network of torch or Keras, or an ONNX model, against a background, much like shap.DeepExplainer.

        explainer = whyserve.Explainer(model, X_train[:100], labels=["no", "yes"])
        explanation = explainer(X_test[:5])
        explanation.values, explanation.residuals
        shap.plots.waterfall(explanation.output("yes").to_shap()[0])

    model: a torch module, a torch.export program, a Keras model on the torch backend, or an ONNX model. The call does
        not change it.
    background: rows of real data: an array, a dict of arrays or DataFrames by input, or a DataFrame. Of more than
        100 rows, 100 are drawn at random. A categorical column becomes numbers in the order of its categories.
    method: "auto" or the name of a method, see whyserve.model.methods. "auto" measures the methods on rows of the
        background when they are needed first, which takes seconds, and takes the most accurate one within `budget_ms`
        per row, or a slower one within `budget_max_ms` if that is not accurate.
    samples: how much a sampling method samples; more is more accurate. Default: the method's own.
    players: by input, what gets one attribution: {"x": {"groups": {"size": ["length", "width"]}}}. docs/players.md
        has all words; players that differ from row to row (superpixels, words) need a model folder.
    categories: of a text column, every category in the order of training, by the name of the column.
    labels: the names of a classification's outputs. names: of a regression's. features: of a table's columns, if the
        background is no DataFrame.
    scale: "log_odds" explains log(p/(1 − p)) of each label, "output" the output itself.
    output, reduce, task, thresholds, missing: as for `whyserve.package`.

    Raises InvalidInput, ModelFault, UnsupportedNetwork, UnsupportedMethod.
    """

    @short_errors
    def __init__(  # noqa: PLR0917  # the order of shap's explainers
        self,
        model: Any,
        background: Any,
        method: str = "auto",
        samples: int | None = None,
        seed: int = 0,
        players: Mapping[str, Mapping[str, Any]] | None = None,
        labels: Sequence[str] | None = None,
        *,
        output: Any = None,
        reduce: Any = None,
        task: Task | None = None,
        thresholds: Mapping[str, float] | Sequence[float] | float | None = None,
        names: Sequence[str] | None = None,
        features: Sequence[str] | None = None,
        categories: Mapping[str, Sequence[str]] | None = None,
        scale: ScaleName = "output",
        missing: Mapping[str, Any] | None = None,
        budget_ms: float = BUDGET_MS,
        budget_max_ms: float = BUDGET_MAX_MS,
    ) -> None:
        check_method(method)
        self.spec, self.network, tried = in_memory(
            model, background, choice=OutputChoice(output, reduce), task=task, thresholds=thresholds,
            labels=labels or (), names=names or (), features=features, players=players or {},
            categories=categories or {}, missing=missing or {},
        )  # fmt: skip
        self.background, self.notes = to_tensors(tried.arrays), tried.notes
        self._gaps = Gaps(self.spec, fills_of(self.spec, tried.arrays))
        self.method, self.samples, self.seed = method, samples, seed
        self._columns = tried.table.shape[1]
        self._outputs, self._scale = Outputs(self.spec, self._columns), scale_of(self.spec, scale)
        self._ending = ending_of(self.spec, self.network, {name: x[:2] for name, x in self.background.items()})
        self._partition, self._budgets_ms = Partition(self.spec), (budget_ms, budget_max_ms)
        if self._partition.follows_rows:
            raise InvalidInput("players that differ from row to row need a model folder; use whyserve.load")
        against = GivenBackground.pack(tried.arrays)
        self._facts: dict[str, Any] = {
            "model": self.spec.name,
            "version": self.spec.version,
            "background": {"name": "default", "rows": against.rows, "sha256": against.sha256},
        }
        self._ready: dict[tuple[str, Scale | None], Method] = {}
        self._certificate: dict[str, Any] | None = None
        if method != "auto":
            self._prepared(method, self._scale)

    @property
    def certificate(self) -> dict[str, Any]:
        """What each method can do here: its distance to the reference, its residual and its time per row."""
        if self._certificate is None:
            self._certificate = certify(
                self._network_on(self._scale),
                self.background,
                game_players(self._partition.fixed),
                *self._budgets_ms,
                asked=lambda table: self._outputs.columns("all", table),
                methods=MEASURED,
                make=self._made,
            )
        return self._certificate

    @short_errors
    def __call__(
        self,
        rows: Any,
        outputs: str | Sequence[str] = "all",
        *,
        method: str | None = None,
        samples: int | None = None,
        standard_error: float | None = None,
        scale: ScaleName | None = None,
        instead_of: str | None = None,
        interactions: bool = False,
        progress: bool = True,
    ) -> Explanation:
        """The explanation of each row.

        rows: in the form of the background. outputs: "all", a list of names, "top", the most likely label of each row,
        or "positive", the labels of multilabel that are on. method, samples, scale: other than the explainer's.
        standard_error: sample until every standard error is at most this. instead_of: another output. The explanation
        is then of log(p/q), of values of the difference, to it. interactions: of all pairs of players too, with the
        method exact. progress: show a bar if it takes long.
        Raises InvalidInput, UnknownLabel, UnsupportedMethod, UnsupportedNetwork.
        """
        arrays = read_rows(self.spec, rows)
        on = scale_of(self.spec, scale, instead_of) if scale or instead_of is not None else self._scale
        method = method or self.method
        method = method_of_interactions(method) if interactions else method
        choice = self._choice(method, samples or self.samples, standard_error, default_scale=on == self._scale)
        inputs = to_tensors(self._gaps.filled(arrays))
        with torch.no_grad():
            table = self.network(inputs).numpy()
        wanted = self._outputs.wanted(outputs, table, instead_of)
        if not any(wanted):
            raise InvalidInput(NOTHING_ON)
        columns = torch.tensor(same_length([[output.column for output in row] for row in wanted], 0))
        with progress_bar(progress) as on_progress:
            limits = Limits(
                choice.samples, standard_error, seed=self.seed, interactions=interactions, on_progress=on_progress
            )
            found = self._prepared(choice.method, on).explain(inputs, columns, limits)
        answer = {**self._facts, "method": choice.method, "method_reason": choice.reason, **scale_facts(on)}
        if choice.doubt:
            answer |= {"reliable": False, "reliable_reason": choice.doubt}
        if interactions:
            answer["interaction_players"] = list(self._partition.fixed.names)
        wanted = [Outputs(self.spec, self._columns, on).named([output.name for output in row]) for row in wanted]
        answer["explanations"] = self._explanations(found, wanted)
        made = drawn(self.spec, answer, exact_instances(self.spec, arrays), arrays)
        order = self._partition.fixed.order  # of an answer, in which groups come last; here they keep their places
        return made if order == sorted(order) else made.ordered(np.argsort(order))

    shap_values = __call__

    def _explanations(self, found: Attribution, wanted: Sequence[Sequence[Output]]) -> list[dict[str, Any]]:
        """The rows as an answer of /explain has them."""
        explained = Explained.of(found, [self._partition.fixed] * len(wanted))
        values = found.predictions.tolist()
        return [
            {
                "outputs": [
                    describe_output(output, values[row][place], explained, (row, place))
                    for place, output in enumerate(outputs)
                ]
            }
            for row, outputs in enumerate(wanted)
        ]

    @short_errors
    def counterfactual(self, rows: Any, **options: Any) -> list[dict[str, Any]]:
        """For each row, the nearest rows for which the network decides otherwise. Needs tables.

        rows: in the form of the background. options: output, threshold, count, most_changed, changes and deadline_s,
        as POST /counterfactual takes them. Returns what it answers. Raises InvalidInput.
        """
        checked, reader = read_options(self.spec, options), RowReader(self.spec)

        def run(rows: Arrays) -> np.ndarray:
            with torch.no_grad():
                return self.network(to_tensors(self._gaps.filled(rows))).numpy()

        search = Search(self.spec, {name: each.numpy() for name, each in self.background.items()})
        model = Deciding(search, self._outputs, run, lambda instance: run(reader([instance])), self._gaps.filled)
        return model.all(read_rows(self.spec, rows), checked)

    def _choice(
        self, method: str, samples: int | None, standard_error: float | None, *, default_scale: bool
    ) -> MethodChoice:
        if method == "auto":
            return choose_auto(self.certificate, samples, standard_error, default_scale=default_scale)
        check_method(method)
        check_standard_error(method, standard_error)
        return MethodChoice(method, samples=samples)

    def _network_on(self, scale: Scale | None) -> Network:
        return network_on(self.spec, self.network, scale, self._ending, self.background)

    def _prepared(self, method: str, scale: Scale | None) -> Method:
        if (method, scale) not in self._ready:
            self._ready[method, scale] = self._made(method, self._network_on(scale))
        return self._ready[method, scale]

    def _made(self, method: str, network: Network) -> Method:
        return prepared(method, network, self.background, self.spec, self._partition)

    def __repr__(self) -> str:
        rows = self._facts["background"]["rows"]
        inputs = ", ".join(f"{item.name} {item.row_shape}" for item in self.spec.inputs)
        outputs = ", ".join(self.spec.output_names[:12])
        line = f"Explainer of {inputs} → {outputs}, method {self.method}, {rows} background rows"
        return "\n".join([line, *self.notes])
