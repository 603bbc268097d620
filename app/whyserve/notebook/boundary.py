"""The edge of the library in a notebook: an error is one line."""

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from whyserve.errors import WhyserveError

P = ParamSpec("P")
T = TypeVar("T")


def short_errors(function: Callable[P, T]) -> Callable[P, T]:
    """Raise a WhyserveError without the frames that it came through; with them if WHYSERVE_LOG_LEVEL is debug."""

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return function(*arguments, **named)
        except WhyserveError as error:
            if os.environ.get("WHYSERVE_LOG_LEVEL", "").lower() == "debug":
                raise
            raise error.with_traceback(None) from None

    return call
