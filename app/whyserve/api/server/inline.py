"""Run a request without a task, and write its answer in one call.

A turn of the event loop costs a system call and cold processor caches. For a small model this is more than the
prediction itself.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import copy_context
from types import coroutine
from typing import Any

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

RunningApp = Coroutine[Any, Any, None]


def run_inline(running: RunningApp, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None] | None:
    """Run a coroutine until its first wait. Returns a task for the rest, or None if the coroutine has finished."""
    context = copy_context()
    try:
        awaited = context.run(running.send, None)
    except StopIteration:
        return None
    return loop.create_task(_resume(running, awaited), context=context)


@coroutine
def _resume(running: RunningApp, awaited: Any) -> Generator[Any, Any, None]:
    """Continue a started coroutine as `await` does."""
    try:
        while True:
            try:
                sent = yield awaited
            except GeneratorExit:
                running.close()
                raise
            except BaseException as error:
                awaited = running.throw(error)
            else:
                awaited = running.send(sent)
    except StopIteration:
        return


class SingleWrite:
    """An application whose answer is written in one call: head and body together.

    For applications that send a complete answer or none. Every answer that needs more than one write goes through
    uvicorn's own `send`, which uvicorn passes to this object.
    """

    __slots__ = ("_app", "_cycle")

    def __init__(self, app: Any, cycle: RequestResponseCycle) -> None:
        self._app, self._cycle = app, cycle

    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:  # uvicorn's types of ASGI, not Starlette's
        return self._app(scope, receive, SingleSend(self._cycle, send))


class SingleSend:
    """The `send` that SingleWrite gives its application."""

    __slots__ = ("_cycle", "_head", "_uvicorn_send")

    def __init__(self, cycle: RequestResponseCycle, uvicorn_send: Any) -> None:
        self._cycle, self._uvicorn_send = cycle, uvicorn_send
        self._head: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        head, self._head = self._head, None
        # uvicorn handles streams, errors, slow peers and connections that end.
        if (
            head is None or message.get("more_body") or head["status"] != 200 or not self._is_plain()
            or (b"connection", b"close") in head["headers"]
        ):  # fmt: skip
            if head is not None:
                await self._uvicorn_send(head)
            await self._uvicorn_send(message)
            return
        lines = [STATUS_LINE[200]]
        for name, value in head["headers"]:
            lines += (name, b": ", value, b"\r\n")
        lines += (b"\r\n", message.get("body", b""))
        self._write(b"".join(lines))

    def write_whole(self, answer: bytes) -> bool:
        """Write a complete answer with status 200, from its first header on, instead of sending messages.

        Returns False if the connection needs uvicorn's own `send`. Then nothing is written.
        """
        if not self._is_plain():
            return False
        self._write(STATUS_LINE[200] + answer)
        return True

    def _is_plain(self) -> bool:
        cycle = self._cycle
        return cycle.keep_alive and not cycle.disconnected and not cycle.flow.write_paused

    def _write(self, answer: bytes) -> None:
        cycle = self._cycle
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(answer)
        # As uvicorn does after the last byte of an answer, in the same order.
        cycle.message_event.set()
        cycle.on_response()
