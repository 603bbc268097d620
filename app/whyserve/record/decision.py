"""What an endpoint knows of a decision before it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec


@dataclass(slots=True)
class Decision:
    """body: as sent. arrays: with markers for missing values. filled: gives the arrays that the network gets.

    asked: the options of an explanation. about: the id of an explanation that is delivered in parts.
    background, explanation: see record.content.
    """

    spec: ModelSpec
    manifest: str
    filled: Callable[[Arrays], Arrays]
    body: bytes
    arrays: Arrays
    kind: Literal["prediction", "explanation", "counterfactual"] = "prediction"
    asked: dict[str, Any] | None = None
    background: Arrays | None = None
    about: str | None = None
    explanation: bytes = b""
