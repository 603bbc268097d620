"""`whyserve.Client`: a running service, from a notebook or a program. It needs httpx, and neither torch nor keras."""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import httpx

from whyserve.errors import InvalidInput, WhyserveError
from whyserve.model.rows import Arrays, RowReader
from whyserve.model.spec import ModelSpec
from whyserve.notebook.boundary import short_errors
from whyserve.notebook.explanation import Explanation
from whyserve.notebook.pictures import drawn
from whyserve.notebook.predictions import Predictions
from whyserve.notebook.rows import Instances, read_instances

if TYPE_CHECKING:
    import pandas as pd

POLL_S = 0.2


class ServiceError(WhyserveError):
    """The service refused a request. `status` is the HTTP status, `code` the stable code of the problem."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.problem_code = status, code


class Pending:
    """An explanation that the service computes. `id` finds it again. answer: if the service had it already."""

    def __init__(self, id: str, model: str, instances: Instances, answer: Mapping[str, Any] | None = None) -> None:
        self.id, self.model, self.instances, self.answer = id, model, instances, answer

    def __repr__(self) -> str:
        return f"explanation {self.id} of {len(self.instances)} rows by {self.model}"


class Client:
    """Asks a service at `url`. key: an API key, if the service has keys.

    rows of each method: a list of instances as in a request, a DataFrame, an array for a model of one input, or a
    dict of arrays by input. Raises ServiceError with the words of the service, InvalidInput for rows that cannot be
    read, and httpx.TransportError if the service cannot be reached.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str | None = None, timeout_s: float = 60) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        self._spec = lru_cache(maxsize=64)(self._fetch_spec)

    @short_errors
    def predict(self, model: str, rows: Any, *, version: int | None = None) -> Predictions:
        """One answer per row."""
        return Predictions(self._post("/predict", model, rows, {"version": version})[0].json()["predictions"])

    @short_errors
    def explain(self, model: str, rows: Any, **options: Any) -> Explanation:
        """Predict and explain rows, and wait until it is done.

        options: method, outputs, scale, instead_of, interactions, samples, standard_error, seed, background, players,
        reasons, language, similar, deadline_s, version, as POST /explain takes them.
        """
        return self._wait(self._ask(model, rows, options), None)

    @short_errors
    def explain_async(self, model: str, rows: Any, **options: Any) -> Pending:
        """Have rows explained without waiting. `result` gets the explanation."""
        return self._ask(model, rows, options, {"Prefer": "respond-async"})

    @short_errors
    def result(self, pending: Pending, timeout_s: float | None = None) -> Explanation:
        """The explanation that `explain_async` began. Raises TimeoutError if it is not done in time."""
        return self._wait(pending, timeout_s)

    @short_errors
    def summary(self, model: str, rows: Any, **options: Any) -> "pd.DataFrame":
        """The mean absolute attribution of each feature over many rows: one column per output, the largest first."""
        import pandas as pd  # noqa: PLC0415

        answered, _ = self._post("/explain", model, rows, {"summary": True, **options})
        state = self._finished(answered.json()["id"], None)
        columns = {}
        for output in state["result"]["summary"]:
            numbers = output["mean_absolute_attributions"]
            columns[output["output"]] = pd.json_normalize(numbers).iloc[0] if numbers else pd.Series(dtype=float)
        frame = pd.DataFrame(columns)
        return frame.loc[frame.sum(axis=1).sort_values(ascending=False).index]

    @short_errors
    def counterfactual(self, model: str, rows: Any, **options: Any) -> list[dict[str, Any]]:
        """For each row, the nearest rows that the model decides otherwise.

        options: output, threshold, count, most_changed, changes, deadline_s, version, as POST /counterfactual takes
        them. Returns its `counterfactuals`.
        """
        answered, _ = self._post("/counterfactual", model, rows, options)
        found: list[dict[str, Any]] = answered.json()["counterfactuals"]
        return found

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- requests -------------------------------------------------------------------------------------

    def _post(
        self, path: str, model: str, rows: Any, options: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> tuple[httpx.Response, Instances]:
        """The answer for some rows, and the rows as they were sent."""
        instances = read_instances(self._spec(model), rows)
        given = {name: value for name, value in options.items() if value is not None}
        body = {"model": model, "instances": instances, **given}
        return _checked(self._http.post(path, json=body, headers=headers)), instances

    def _ask(
        self, model: str, rows: Any, options: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Pending:
        answered, instances = self._post("/explain", model, rows, options, headers)
        answer = answered.json()
        return Pending(answer["id"], model, instances, answer if answered.status_code == 200 else None)

    def _fetch_spec(self, model: str) -> ModelSpec:
        answered = _checked(self._http.get(f"/models/{model}"))
        return ModelSpec.model_validate(answered.json()["spec"])

    def _wait(self, pending: Pending, timeout_s: float | None) -> Explanation:
        answer = pending.answer or self._finished(pending.id, timeout_s)["result"]
        spec, instances = self._spec(pending.model), pending.instances
        return drawn(spec, answer, instances, _arrays(spec, instances))

    def _finished(self, identity: str, timeout_s: float | None) -> dict[str, Any]:
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            state: dict[str, Any] = _checked(self._http.get(f"/explanations/{identity}")).json()
            if state["status"] == "done":
                return state
            if state["status"] in ("failed", "cancelled"):
                gone = {"code": "explanation_cancelled", "detail": "the explanation was cancelled"}
                error = state.get("error", gone)
                raise ServiceError(200, error["code"], error["detail"])
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"explanation {identity} is not done: {state['progress']:.0%}")
            time.sleep(POLL_S)


def _arrays(spec: ModelSpec, instances: Instances) -> Arrays:
    """The arrays of rows without text and without pictures; none of others."""
    if any(item.tokenizer for item in spec.inputs):
        return {}
    try:
        return RowReader(spec, {})(instances)
    except (TypeError, ValueError, InvalidInput):
        return {}


def _checked(answered: httpx.Response) -> httpx.Response:
    if answered.is_success:
        return answered
    try:
        problem = answered.json()
        raise ServiceError(answered.status_code, problem["code"], problem["detail"])
    except (ValueError, KeyError, TypeError):
        words = f"the service answered {answered.status_code} to {answered.request.url.path}"
        raise ServiceError(answered.status_code, "http_error", words) from None
