"""JSON log lines, one per event, with the id of the request. All processes log in this form."""

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
    """Log lines inside this context get the ids of a request that another process received."""
    tokens = request_id.set(request), trace_id.set(traceparent and trace_of(traceparent))
    try:
        yield
    finally:
        request_id.reset(tokens[0])
        trace_id.reset(tokens[1])


def trace_of(traceparent: str) -> str:
    """The trace id of a valid traceparent: 00-<trace>-<span>-<flags>."""
    return traceparent[3:35]


STANDARD_FIELDS = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Time, level, process, logger, message, ids, and the fields of `extra`."""

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
        for name, value in (("request_id", request_id.get()), ("trace_id", trace_id.get())):
            if value:
                line[name] = value
        line |= {key: value for key, value in vars(record).items() if key not in STANDARD_FIELDS}
        if record.exc_info and record.exc_info[1]:
            line["error"] = first_line(record.exc_info[1])
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(role: str, level: str) -> None:
    """Log to standard error. role: the process, as `process` in each line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(role))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
