"""[counterfactual] of model.toml: how the features of a row may change."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StrictBool

from whyserve.errors import InvalidInput
from whyserve.model.input_spec import Ends, Strict

if TYPE_CHECKING:
    from whyserve.model.spec import ModelSpec


class Change(Strict):
    """How one feature, or group of features, may change.

    fixed: not at all. only: in which direction. step: by multiples of it. range: to numbers of this range, by default
    the background's. categories: to these only.
    """

    fixed: StrictBool = False
    only: Literal["up", "down"] | None = None
    step: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    range: Ends | None = None
    categories: list[str] | None = None


Changes = dict[str, Change]


class CounterfactualSpec(Strict):
    """[counterfactual]. changes: by feature or group; a request can only restrict them further."""

    changes: Changes = Field(default_factory=dict)


def check_changes(spec: "ModelSpec", changes: Changes, place: str) -> None:
    """Raises InvalidInput, which names the place, for a feature that the model lacks or that cannot change so."""
    features = {f.player: (item, f) for item, _, f in spec.features}
    for key, change in changes.items():
        where = f"{place}.{key}"
        if key not in features:
            raise InvalidInput(f"{where}: neither a feature without a group nor a group of this model", field=where)
        item, feature = features[key]
        is_number = not feature.group and item.is_number(feature)
        if not is_number and (change.only or change.step or change.range):
            raise InvalidInput(f"{where}: only, step and range need a number", field=where)
        if change.categories is not None and not feature.categories:
            raise InvalidInput(f"{where}: categories need a feature with categories", field=where)
        if change.range and change.range[0] > change.range[1]:
            raise InvalidInput(f"{where}.range: write [smallest, largest]", field=f"{where}.range")
        if unknown := set(change.categories or ()) - set(feature.categories or ()):
            known = ", ".join(feature.categories or ())
            words = f"{len(unknown)} unknown; the feature's categories: {known}"
            raise InvalidInput(f"{where}.categories: {words}", field=f"{where}.categories")
