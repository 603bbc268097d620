"""Searches of counterfactuals. One runs at a time, in a thread, so that predictions have the other processors."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import Request

from whyserve.api.middleware.auth import caller_of
from whyserve.api.state import Service
from whyserve.errors import Busy, TooManyInstances
from whyserve.model.rows import Arrays, each_row, row_count
from whyserve.predict.decisions import MOST_ROWS, Options, check_options, counterfactuals
from whyserve.predict.predictor import Predictor

MOST_WAITING = 16
COST = 10_000  # of one instance, for the explanation limit of a key: about the rows of a usual search


class Counterfactuals:
    """The searches of one API process. It is app.state.counterfactuals."""

    def __init__(self, service: Service) -> None:
        self._service, self._waiting = service, 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="counterfactuals")

    async def find(
        self, request: Request, predictor: Predictor, arrays: Arrays, options: Options
    ) -> list[dict[str, Any]]:
        """For each row, the nearest rows that the model decides otherwise, each verified by an ordinary prediction.

        Raises InvalidInput, TooManyInstances, Busy, RateLimited.
        """
        check_options(predictor.spec, options)
        if (rows := row_count(arrays)) > MOST_ROWS:
            raise TooManyInstances(f"send at most {MOST_ROWS} rows per request", field="instances")
        await predictor.answer(arrays)
        if self._waiting >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} requests for counterfactuals wait already; retry later", retry_after_s=1)
        if self._service.explain_rate_limit is not None:
            self._service.explain_rate_limit.take(caller_of(request.scope), COST * rows)

        def search(row: Arrays) -> dict[str, Any]:
            return counterfactuals(predictor.deciding, row, options)

        self._waiting += 1
        try:
            # Row by row, so that the rows of other requests get their turn.
            loop = asyncio.get_running_loop()
            found = [await loop.run_in_executor(self._thread, search, row) for row in each_row(arrays)]
        finally:
            self._waiting -= 1
        content = await request.body()
        self._service.note(request.scope["state"], predictor, content, arrays, kind="counterfactual")
        return found
