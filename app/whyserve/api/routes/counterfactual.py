"""POST /counterfactual."""

import asyncio
import time
from codecs import BOM_UTF8
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.middleware.auth import caller_of
from whyserve.api.state import Service
from whyserve.errors import Busy
from whyserve.model.rows import Arrays, Row, row_count
from whyserve.predict.decisions import SEARCH_S, Deciding, check_options, counterfactuals
from whyserve.predict.predictor import Predictor

MOST_WAITING = 16
PASS_S = 0.02  # of one pass through the network
COST = 10_000  # of one instance, for the explanation limit of a key: about the rows of a usual search


class Counterfactual:
    """One search runs at a time, in a thread, so that the other processors are left to predictions."""

    def __init__(self, service: Service) -> None:
        self._service, self._waiting = service, 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="counterfactuals")

    async def answer(self, request: Request) -> Response:
        """The nearest rows for which the model decides otherwise, each verified by an ordinary prediction."""
        service = self._service
        body = service.parse(service.counterfactual_adapter, (await request.body()).removeprefix(BOM_UTF8))
        predictor = service.catalog.get(body["model"], body.get("version"))
        request.scope["state"]["model"] = predictor.spec.name
        check_options(predictor.spec, body)
        arrays = await predictor.read(body["instances"])
        await predictor.answer(arrays)
        if self._waiting >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} requests for counterfactuals wait already; retry later", retry_after_s=1)
        if service.explain_rate_limit is not None:
            service.explain_rate_limit.take(caller_of(request.scope), COST * row_count(arrays))
        self._waiting += 1
        try:
            found = [await self._search(predictor, arrays, at, body) for at in range(row_count(arrays))]
        finally:
            self._waiting -= 1
        content = await request.body()
        service.note(request.scope["state"], predictor, content, arrays, kind="counterfactual")
        head = {"model": predictor.spec.name, "version": predictor.spec.version, "manifest": predictor.digest}
        return Response(orjson.dumps({**head, "counterfactuals": found}), media_type="application/json")

    async def _search(self, predictor: Predictor, arrays: Arrays, at: int, body: dict[str, Any]) -> dict[str, Any]:
        row = {name: array[at : at + 1] for name, array in arrays.items()}
        chunk = max(1, predictor.latency.rows_within(PASS_S))
        limit_s = body.get("deadline_s", SEARCH_S)

        def predict(instance: Row) -> np.ndarray:
            return predictor.table(predictor.arrays([instance]))

        def search() -> dict[str, Any]:
            deadline = time.monotonic() + limit_s
            model = Deciding(predictor.search, predictor.outputs, predictor.evaluate, predict, predictor.filled)
            return counterfactuals(model, row, body, deadline, chunk)

        return await asyncio.get_running_loop().run_in_executor(self._thread, search)
