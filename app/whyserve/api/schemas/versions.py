"""One parser for the requests of all models and versions. Each version has types of its own."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from pydantic import TypeAdapter

from whyserve.api.schemas.types import union
from whyserve.model.manifest import Manifest
from whyserve.predict.catalog import Catalog


class VersionedAdapter:
    """Parses a request with the types of the version that it names; by default, of the model's current version."""

    def __init__(self, catalog: Catalog, request_type: Callable[[Manifest], Any]) -> None:
        self._current: TypeAdapter[Any] = TypeAdapter(
            union([request_type(predictor.manifest) for predictor in catalog])
        )
        current = {id(predictor) for predictor in catalog}
        self._others: Mapping[tuple[Any, Any], TypeAdapter[Any]] = {
            (predictor.spec.name, predictor.spec.version): TypeAdapter(request_type(predictor.manifest))
            for predictor in catalog.all
            if id(predictor) not in current
        }

    def validate_json(self, body: bytes) -> Any:
        """Raises ValidationError."""
        return self._for_body(body).validate_json(body)

    def validate_python(self, content: dict[str, Any]) -> Any:
        """Raises ValidationError."""
        return self._for_content(content).validate_python(content)

    def _for_body(self, body: bytes) -> TypeAdapter[Any]:
        if not self._others:
            return self._current  # the common case: the body is parsed only once
        try:
            return self._for_content(orjson.loads(body))
        except orjson.JSONDecodeError:
            return self._current  # its error says what is wrong

    def _for_content(self, content: Any) -> TypeAdapter[Any]:
        if not isinstance(content, dict):
            return self._current
        model, version = content.get("model"), content.get("version")
        if not isinstance(model, str) or not isinstance(version, int):
            return self._current
        return self._others.get((model, version), self._current)
