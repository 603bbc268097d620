"""The protocol's request types. They are equal for all models."""

from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from whyserve.api.errors.problems import validated

# Clients also send fields of other servers, and expect unknown fields to be ignored.
LENIENT = ConfigDict(strict=True, extra="ignore")
SHAPE = '{"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}'


@with_config(LENIENT)
class TensorParameters(TypedDict):
    binary_data_size: NotRequired[Annotated[int, Field(ge=0)]]
    shared_memory_region: NotRequired[Any]


@with_config(LENIENT)
class Tensor(TypedDict):
    name: str
    shape: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=16)]
    datatype: str
    parameters: NotRequired[TensorParameters | None]
    data: NotRequired[list[Any] | None]


@with_config(LENIENT)
class OutputParameters(TypedDict):
    binary_data: NotRequired[bool]
    classification: NotRequired[Annotated[int, Field(ge=0)]]


@with_config(LENIENT)
class RequestedOutput(TypedDict):
    name: str
    parameters: NotRequired[OutputParameters | None]


@with_config(ConfigDict(strict=True, extra="allow"))
class InferParameters(TypedDict):
    """binary_data_output: send all outputs as bytes, unless an output has its own setting."""

    binary_data_output: NotRequired[bool]


@with_config(LENIENT)
class InferRequest(TypedDict):
    id: NotRequired[str | None]
    parameters: NotRequired[InferParameters | None]
    inputs: Annotated[list[Tensor], Field(max_length=1000)]
    outputs: NotRequired[list[RequestedOutput] | None]


@with_config(LENIENT)
class IndexRequest(TypedDict):
    ready: NotRequired[bool]


REQUEST: TypeAdapter[InferRequest] = TypeAdapter(InferRequest)
INDEX: TypeAdapter[IndexRequest] = TypeAdapter(IndexRequest)


def read_request(body: bytes) -> InferRequest:
    """Raises MalformedBody, InvalidInput."""
    return validated(lambda: REQUEST.validate_json(body), shape=SHAPE)


def check_index(body: bytes) -> None:
    """Check the body of a request for the index; it may be empty. Raises MalformedBody, InvalidInput."""
    validated(lambda: INDEX.validate_json(body or b"{}"), shape='{"ready": …}')
