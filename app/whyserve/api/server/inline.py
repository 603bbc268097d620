"""Requests that are answered as they come, with no task and no turn of the event loop, in one write.

A turn costs a system call, and what follows one runs on cold caches: for a small model that is more than the model.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import copy_context
from types import coroutine
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

Whole = Coroutine[Any, Any, None]


def run_at_once(answering: Whole, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None] | None:
    """Run until it has to wait for something, if it has to: the task then that does the rest."""
    context = copy_context()
    try:
        awaited = context.run(answering.send, None)
    except StopIteration:
        return None
    return loop.create_task(_rest(answering, awaited), context=context)


@coroutine
def _rest(answering: Whole, awaited: Any) -> Generator[Any, Any, None]:
    """Go on from where it waits, as `await` would have."""
    try:
        while True:
            try:
                sent = yield awaited
            except GeneratorExit:
                answering.close()
                raise
            except BaseException as error:
                awaited = answering.throw(error)
            else:
                awaited = answering.send(sent)
    except StopIteration:
        return


class AtOnce(RequestResponseCycle):
    """Keeps an answer's head until its body is there. For endpoints that send their answer whole, or not at all."""

    _head: Any = None

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        head, self._head = self._head, None
        body = message.get("body", b"")
        if head is None or not self._is_plain(head, message):
            if head is not None:
                await super().send(head)
            await super().send(message)
            return
        lines = [STATUS_LINE[head["status"]]]
        for name, value in head["headers"]:
            lines += (name, b": ", value, b"\r\n")
        lines += (b"\r\n", body)
        self.response_started = self.response_complete = True
        self.transport.write(b"".join(lines))
        self.message_event.set()
        self.on_response()

    def _is_plain(self, head: Any, message: Any) -> bool:
        """Whether nothing stands in the way: uvicorn knows what to do where the connection ends or is slow."""
        return not (
            message.get("more_body") or self.disconnected or not self.keep_alive or self.flow.write_paused
            or head["status"] != 200
        )  # fmt: skip
