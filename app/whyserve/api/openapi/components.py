"""Components of the OpenAPI document: types as JSON Schema, in a form that client generators support."""

from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

REF = "#/components/schemas/{model}"
JSON = "application/json"


def header(description: str, **schema: Any) -> dict[str, Any]:
    """A header of an answer. schema: of its value, which is a string by default."""
    return {"description": description, "schema": {"type": "string", **schema}}


def parameter(name: str, place: str, description: str, **schema: Any) -> dict[str, Any]:
    """An optional parameter of a request. place: header or query. schema: as of `header`."""
    return {"name": name, "in": place, "required": False, **header(description, **schema)}


EXPLAINED_ONCE = "Requests with equal keys get one explanation, however often they are sent."
IDEMPOTENCY_KEY = parameter("Idempotency-Key", "header", EXPLAINED_ONCE, pattern="^[!-~]{1,200}$")


def ref(name: str) -> dict[str, str]:
    return {"$ref": REF.format(model=name)}


def content(name: str, media: str = JSON) -> dict[str, Any]:
    """A body of a component's type."""
    return {media: {"schema": ref(name)}}


def add(components: dict[str, Any], of: Any, mode: JsonSchemaMode) -> None:
    """Add a type and the types inside it, unless they are there already."""
    schema = TypeAdapter(of).json_schema(mode=mode, ref_template=REF)
    for name, inner in schema.pop("$defs", {}).items():
        components.setdefault(name, plain(inner))
    components.setdefault(schema["title"], plain(schema))


def add_dumped(components: dict[str, Any], model: type[BaseModel]) -> None:
    """Add a model as `model_dump(exclude_none=True)` writes it: every field that cannot be null is required."""
    schema = model.model_json_schema(mode="serialization", ref_template=REF)
    for name, each in {**schema.pop("$defs", {}), schema["title"]: schema}.items():
        made = plain(each)
        if properties := each.get("properties"):
            made["required"] = [key for key, of in properties.items() if not _nullable(of)]
            for of in made["properties"].values():
                of.pop("default", None)
        components.setdefault(name, made)


def add_union(components: dict[str, Any], name: str, members: dict[str, str]) -> None:
    """Add a union of types with the discriminator `model`. members: component by model."""
    refs = {model: REF.format(model=member) for model, member in members.items()}
    components[name] = {
        "title": name,
        "oneOf": [{"$ref": each} for each in refs.values()],
        "discriminator": {"propertyName": "model", "mapping": refs},
    }


def plain(schema: Any) -> Any:
    """A schema without null: a field that may be null becomes optional. A tuple of equal types becomes a list."""
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: plain(part) for key, part in schema.items() if not (key == "default" and part is None)}
    if "anyOf" in made:
        some = [part for part in made["anyOf"] if part != {"type": "null"}]
        made = {**made, "anyOf": some} if len(some) > 1 else {**_without(made, "anyOf"), **some[0]}
    if isinstance(schema.get("properties"), dict) and "required" in made:
        made["required"] = [name for name in made["required"] if not _nullable(schema["properties"][name])]
    first, *others = made.get("prefixItems", [None])
    if first and all(other == first for other in others):
        made = {**_without(made, "prefixItems"), "items": first}
    return made


def _nullable(schema: Any) -> bool:
    return {"type": "null"} in schema.get("anyOf", ())


def _without(schema: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: part for name, part in schema.items() if name != key}
