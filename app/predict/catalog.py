"""The models being served, by name."""

from collections.abc import Iterator
from pathlib import Path

from app.errors import ModelFault, UnknownModel
from app.manifest import MANIFEST_FILE
from app.predict.predictor import Predictor, load_predictor
from app.spec import model_folders


class Catalog:
    def __init__(self, predictors: list[Predictor]) -> None:
        self._by_name = {predictor.spec.name: predictor for predictor in predictors}

    def __iter__(self) -> Iterator[Predictor]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    def get(self, name: str, version: int | None = None) -> Predictor:
        """Raises UnknownModel."""
        predictor = self._by_name.get(name)
        if predictor is None:
            raise UnknownModel(f"there is no such model; there are {', '.join(self.names)}", field="model")
        if version is not None and version != predictor.spec.version:
            raise UnknownModel(f"{name} is served in version {predictor.spec.version} only", field="version")
        return predictor


def load_catalog(artifacts: Path, threads: int) -> Catalog:
    """Load every artifact. Raises ModelFault: half a set of models is not served."""
    predictors = [load_predictor(folder, threads) for folder in model_folders(artifacts, MANIFEST_FILE)]
    for predictor in predictors:
        if not predictor.manifest.certificate:
            raise ModelFault(f"{predictor.spec.name}/{MANIFEST_FILE}: has no certificate; run `whyserve export`")
    return Catalog(predictors)
