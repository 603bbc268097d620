"""The expected size of an answer, without a service."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whyserve.api.explain.answer_size import answer_bytes
from whyserve.jobs import ExplainJob
from whyserve.predict.catalog import load_catalog


@pytest.fixture(scope="session")
def expected_bytes(artifacts: Path) -> Callable[[dict[str, Any]], int]:
    """Of the answer to a request."""
    catalog = load_catalog(artifacts, 1)

    def expected(request: dict[str, Any]) -> int:
        return asyncio.run(_expected(catalog.get(request["model"], None), request))

    return expected


async def _expected(predictor: Any, request: dict[str, Any]) -> int:
    rows = request["instances"]
    arrays = await predictor.read(rows)
    table = await predictor.answer(arrays)
    job = ExplainJob.of(
        predictor.spec,
        predictor.digest,
        arrays,
        table,
        predictor.outputs.wanted(request.get("outputs", "all"), table),
        texts=await predictor.spans(rows),
        method=request.get("method", "auto"),
        summary=request.get("summary", False),
    )
    return answer_bytes(job, predictor)
