"""One reader for the requests of all models and versions: each version has its own types."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from pydantic import TypeAdapter

from whyserve.api.schemas.models import adapter, union
from whyserve.model.manifest import Manifest
from whyserve.predict.catalog import Catalog


class VersionedAdapter:
    """Reads a request as its model's current version takes it, unless it names another."""

    def __init__(self, catalog: Catalog, request_type: Callable[[Manifest], Any]) -> None:
        self._current = adapter(union([request_type(predictor.manifest) for predictor in catalog]))
        current = {id(predictor) for predictor in catalog}
        self._others: Mapping[tuple[Any, Any], TypeAdapter[Any]] = {
            (predictor.spec.name, predictor.spec.version): adapter(request_type(predictor.manifest))
            for predictor in catalog.all
            if id(predictor) not in current
        }

    def validate_json(self, body: bytes) -> Any:
        """Raises ValidationError."""
        return self._of(body).validate_json(body)

    def validate_python(self, content: dict[str, Any]) -> Any:
        """Raises ValidationError."""
        return self._named(content).validate_python(content)

    def _of(self, body: bytes) -> TypeAdapter[Any]:
        if not self._others:
            return self._current
        try:
            return self._named(orjson.loads(body))
        except orjson.JSONDecodeError:
            return self._current  # it says what is wrong

    def _named(self, content: Any) -> TypeAdapter[Any]:
        if not isinstance(content, dict):
            return self._current
        model, version = content.get("model"), content.get("version")
        if not isinstance(model, str) or not isinstance(version, int):
            return self._current
        return self._others.get((model, version), self._current)
