"""Log lines as JSON, one an event, with the id of the request they belong to, in every process alike."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from whyserve.errors import first_line

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)


@contextmanager
def about(request: str | None, traceparent: str | None) -> Iterator[None]:
    """What is logged inside belongs to this request, which another process took."""
    tokens = request_id.set(request), trace_id.set(traceparent and trace_of(traceparent))
    try:
        yield
    finally:
        request_id.reset(tokens[0])
        trace_id.reset(tokens[1])


def trace_of(traceparent: str) -> str:
    """The trace's id in a checked traceparent: 00-<trace>-<span>-<flags>."""
    return traceparent[3:35]


PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Time, level, process, logger, message, ids, and whatever was given as `extra`."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, known in (("request_id", request_id.get()), ("trace_id", trace_id.get())):
            if known:
                line[name] = known
        line |= {key: value for key, value in vars(record).items() if key not in PLAIN}
        if record.exc_info and record.exc_info[1]:
            line["error"] = first_line(record.exc_info[1])
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(role: str, level: str) -> None:
    """Send this process's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(role))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
