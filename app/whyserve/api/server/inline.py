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

    __slots__ = ("_app", "_cycle", "_head", "_uvicorn_send")

    def __init__(self, app: Any, cycle: RequestResponseCycle) -> None:
        self._app, self._cycle = app, cycle
        self._head: Message | None = None

    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:  # uvicorn's types of ASGI, not Starlette's
        self._uvicorn_send = send
        return self._app(scope, receive, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        head, self._head = self._head, None
        cycle = self._cycle
        # uvicorn handles streams, errors, slow peers and connections that end.
        if (
            head is None or message.get("more_body") or cycle.disconnected or not cycle.keep_alive
            or cycle.flow.write_paused or head["status"] != 200 or (b"connection", b"close") in head["headers"]
        ):  # fmt: skip
            if head is not None:
                await self._uvicorn_send(head)
            await self._uvicorn_send(message)
            return
        lines = [STATUS_LINE[200]]
        for name, value in head["headers"]:
            lines += (name, b": ", value, b"\r\n")
        lines += (b"\r\n", message.get("body", b""))
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(b"".join(lines))
        # As uvicorn does after the last byte of an answer, in the same order.
        cycle.message_event.set()
        cycle.on_response()
