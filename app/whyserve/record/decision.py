"""What an endpoint knows of a decision before it answers."""

from dataclasses import dataclass
from typing import Any

from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec


@dataclass(slots=True)
class Decision:
    """body: as sent. arrays, background: as the network gets them. asked: the options of an explanation; None for a
    prediction. about: the id of an explanation that is delivered in parts. explanation: see record.content.
    """

    spec: ModelSpec
    manifest: str
    body: bytes
    arrays: Arrays
    asked: dict[str, Any] | None = None
    background: Arrays | None = None
    about: str | None = None
    explanation: bytes = b""
