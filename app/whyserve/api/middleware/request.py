"""The outermost ASGI layer, which every request passes. It is kept short, because every request pays for it.

It gives a request its id, counts and times it, checks its admission, and calls an endpoint: a quick one directly, or
the FastAPI application, whose own layers cost more than a small model's prediction.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from whyserve.api.errors.handler import CLIENT_GONE, from_exception
from whyserve.api.middleware.admission import Admission, Headers
from whyserve.api.middleware.answers import JSON_ANSWER, SMALL, json_head, send_answer
from whyserve.api.middleware.auth import caller_of
from whyserve.api.middleware.body import BodyMemory, InflatedReceive, MeteredReceive
from whyserve.api.middleware.context import child_of, request_id_from
from whyserve.api.middleware.prefix import FORWARDED_PREFIX, Prefix
from whyserve.api.middleware.streams import EVENTS, Streams
from whyserve.errors import Busy, RecordUnavailable
from whyserve.settings import ApiSettings
from whyserve.telemetry.logs import request_id, trace_id, trace_of
from whyserve.telemetry.metrics import REQUESTS

if TYPE_CHECKING:
    from whyserve.record.content import Decision
    from whyserve.record.writer import Recorder

log = logging.getLogger("whyserve.access")

# These answer however busy the service is.
HEALTH = ("/health/", "/v2/health/")
# Probes and scrapes are frequent, and nobody reads their lines.
PROBES = (*HEALTH, "/metrics")
# No cache may keep an answer, and no browser may guess its type.
SAFETY_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))

# A whole answer of `json_answer` after its status line: its length, the request's id, its own headers, its content.
WHOLE_JSON = (
    b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n"
    + b"".join(name + b": " + value + b"\r\n" for name, value in SAFETY_HEADERS)
    + b"%b\r\n%b"
)

# The headers that this module adds.
OF_EVERY_ANSWER = {b"x-request-id", b"connection", *(name for name, _ in SAFETY_HEADERS)}


class RequestMiddleware:
    def __init__(
        self,
        app: ASGIApp,
        quick: Callable[[Scope], ASGIApp | None],
        settings: ApiSettings,
        body_memory: BodyMemory,
        shutting_down: asyncio.Event,
        *,
        record: "Recorder | None" = None,
    ) -> None:
        """quick: the endpoint that a request calls without FastAPI, or None. record: where decisions are kept.

        An endpoint whose answer is a decision sets "decision" in the request's state.

        Raises ConfigurationError if the keys are invalid.
        """
        proxied: Any = ProxyHeadersMiddleware(app, settings.trusted_proxies)  # type: ignore[arg-type]  # uvicorn's types
        self._app: ASGIApp = proxied  # it reads X-Forwarded-Proto, for redirects
        self.quick, self._body_memory = quick, body_memory
        self._admission, self._max_requests = Admission(settings, body_memory), settings.max_requests
        self._record = record
        self._shutting_down, self._prefix = shutting_down, Prefix(settings.root_path, proxied.trusted_hosts)
        self._has_prefix = bool(settings.root_path)
        self._in_flight, self._streams = 0, Streams()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = dict(scope["headers"])
        if self._has_prefix or FORWARDED_PREFIX in headers:
            self._prefix(scope, headers)
        identity = _identify(scope, headers)
        status = 0
        path, state = scope["path"], scope["state"]
        quick: ASGIApp | None = None
        head: Message | None = None

        # This function must not use its own name: it would then be garbage that only a collection frees, and each
        # request would wait for collections.
        async def send_with_identity(message: Message) -> None:
            nonlocal status, head
            if message["type"] == "http.response.start":
                head = self._complete(message, identity, quick=quick is not None)
                return
            if message["type"] == JSON_ANSWER:
                if "decision" not in state and self._wrote_whole(send, message, identity, headers):
                    status = 200
                    return
                head = self._complete(json_head(len(message["body"]), message["headers"]), identity, quick=True)
                message["type"] = "http.response.body"
            if head is not None:
                start, head = head, None
                if "decision" in state:
                    message = await self._recorded(state, path, start, message)
                body = message.get("body", b"")
                if "parts" in message or (len(body) > SMALL and not message.get("more_body")):
                    await send_answer(send, start, message.get("parts", (body,)), headers, self._body_memory)
                    status = start["status"]
                    return
                status = start["status"]
                await send(start)
            await send(message)

        self._in_flight += 1
        try:
            if self._in_flight > self._max_requests and not scope["path"].startswith(HEALTH):
                raise Busy(f"the service has {self._max_requests} requests in flight; retry later", retry_after_s=1)
            self._admission(scope, headers)
            quick = self.quick(scope)
            receive = _inflated(scope, receive, headers) if b"content-encoding" in headers else receive
            endpoint = quick or (self._streamed if scope["path"].endswith(EVENTS) else self._metered)
            await endpoint(scope, receive, send_with_identity)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception as error:  # the caller gets an answer for every error
            if not status:
                await from_exception(path, error)(scope, receive, send_with_identity)
        finally:
            self._in_flight -= 1
            _observe(scope, status, time.perf_counter() - start)

    def _complete(self, head: Message, identity: bytes, *, quick: bool) -> Message:
        """A head with the headers of every answer. quick: it has none of them yet."""
        sent = head.get("headers", ())
        added = SAFETY_HEADERS if quick else _missing(sent)
        head["headers"] = [*sent, (b"x-request-id", identity), *added]
        if self._shutting_down.is_set():
            # The peer must not send its next request on this connection.
            head["headers"].append((b"connection", b"close"))
        return head

    def _wrote_whole(self, send: Send, answer: Message, identity: bytes, headers: Headers) -> bool:
        """Whether the message of `json_answer` could be sent in one step. Other messages cost as much as parsing the
        request. headers: of the request.
        """
        body: bytes = answer["body"]
        write = getattr(send, "write_whole", None)  # of api/server/inline.py
        if write is None or self._shutting_down.is_set() or (len(body) > SMALL and b"accept-encoding" in headers):
            return False
        more = b"".join([b"%b: %b\r\n" % header for header in answer["headers"]]) if answer["headers"] else b""
        sent: bool = write(WHOLE_JSON % (len(body), identity, more, body))
        return sent

    async def _recorded(self, state: MutableMapping[str, Any], path: str, head: Message, message: Message) -> Message:
        """Record the decision of an answer that is about to be sent. Returns the message with the body to send.

        Without a record that is required, this is an error's body, and the head changes to the error's head.
        """
        decision: Decision = state.pop("decision")
        if self._record is None or head["status"] >= 300:
            return message
        answer = b"".join(message["parts"]) if "parts" in message else message.get("body", b"")
        origin = {"caller": state.get("caller"), "request_id": state["request_id"], "path": path}
        try:
            if (found := await self._record.keep(decision, answer, **origin)) is not None:
                head["headers"].append((b"x-prediction-id", found.encode()))
        except RecordUnavailable as error:
            refusal = from_exception(path, error)
            kept = [header for header in head["headers"] if header[0] in OF_EVERY_ANSWER]
            named = [header for header in refusal.raw_headers if header[0] not in OF_EVERY_ANSWER]
            head["status"], head["headers"] = refusal.status_code, [*named, *kept]
            return {"type": "http.response.body", "body": refusal.body}
        return message

    async def _streamed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Like `_metered`, but the request counts as an event stream meanwhile, and not as a request in flight."""
        with self._streams.open(caller_of(scope)):
            self._in_flight -= 1
            try:
                await self._metered(scope, receive, send)
            finally:
                self._in_flight += 1

    async def _metered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the FastAPI application. The body that it reads counts until it has answered."""
        metered = MeteredReceive(receive, self._body_memory)
        path, prefix = scope["path"], scope["root_path"]
        scope["path"] = prefix + path  # in ASGI, the path includes the prefix
        # HEAD is GET without the content of the answer (RFC 9110, section 9.3.2), which uvicorn leaves out.
        is_head = scope["method"] == "HEAD"
        asked = {**scope, "method": "GET"} if is_head else scope
        try:
            await self._app(asked, metered, send)
        finally:
            if is_head and "route" in asked:
                scope["route"] = asked["route"]
            scope["path"], scope["root_path"] = path, prefix  # Starlette changes them
            metered.release()


def _inflated(scope: Scope, receive: Receive, headers: Headers) -> Receive:
    """`receive` of the unpacked body. The scope then says nothing of a coding or a length."""
    coding = headers[b"content-encoding"].strip().lower()
    if coding in (b"", b"identity"):
        return receive
    scope["headers"] = [each for each in scope["headers"] if each[0] not in (b"content-encoding", b"content-length")]
    return InflatedReceive(receive, coding)


def _missing(sent: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The SAFETY_HEADERS that an answer does not set itself."""
    names = {name for name, _ in sent}
    return [header for header in SAFETY_HEADERS if header[0] not in names]


def _identify(scope: Scope, headers: Headers) -> bytes:
    """Set the request's id and trace. Returns the id as a header value."""
    identity = request_id_from(headers.get(b"x-request-id", b""))
    traceparent = headers.get(b"traceparent")
    state = scope.setdefault("state", {})
    state["request_id"] = identity
    request_id.set(identity)
    if traceparent and (child := child_of(traceparent)):
        state["traceparent"] = child
        trace_id.set(trace_of(child))
    return identity.encode()


def _observe(scope: Scope, status: int, seconds: float) -> None:
    """Count, time and log a request by route and model."""
    state = scope["state"]
    model = state.get("model", "")
    route = state.get("route") or getattr(scope.get("route"), "path", "other")
    REQUESTS.observe(route, model, status, seconds)
    if log.isEnabledFor(logging.INFO):
        level = logging.DEBUG if scope["path"].startswith(PROBES) else logging.INFO
        extra = {"method": scope["method"], "route": route, "model": model, "status": status}
        log.log(level, "answered", extra={**extra, "ms": round(1e3 * seconds, 3)})
