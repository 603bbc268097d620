"""Write the decisions of one API process: one thread, one chain, many decisions per commit."""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeVar

from whyserve import __version__
from whyserve.errors import RecordUnavailable, WhyserveError
from whyserve.model.rows import row_count
from whyserve.record.chain import Chain, new_id, now_us
from whyserve.record.content import Decision, content_of
from whyserve.record.store import Store
from whyserve.record.upkeep import Upkeep
from whyserve.settings import ApiSettings
from whyserve.telemetry.metrics import RECORDS

T = TypeVar("T")
log = logging.getLogger("whyserve.record")

# Without record_sync, a group of decisions is written this long after its first. They must be on disk within a second.
GROUP_S = 0.2
# With record_sync, a group is written when this many turns of the event loop brought no further decision. Callers whom
# one commit has answered send their next requests together, so they wait for one commit again, and not for two.
QUIET_TURNS, MOST_GATHER_S = 4, 0.01
# Decisions that are not on disk yet.
MOST_WAITING, MOST_WAITING_BYTES = 10_000, 64 << 20
CHECKPOINT_S = 60.0
RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Entry:
    """A decision that waits for its commit. facts: of its head. done: None if nobody waits."""

    facts: dict[str, Any]
    decision: Decision
    answer: bytes
    done: "asyncio.Future[None] | None"

    @property
    def size(self) -> int:
        arrays = (*self.decision.arrays.values(), *(self.decision.background or {}).values())
        return len(self.decision.body) + len(self.answer) + sum(array.nbytes for array in arrays)


@dataclass(frozen=True, slots=True)
class Call:
    """A function that the writer's thread calls with its store and its chain."""

    function: Callable[[Store, Chain], Any]
    done: Future[Any]


class Recorder:
    """keep, run and close belong to one event loop."""

    def __init__(self, settings: ApiSettings) -> None:
        """settings: with a record."""
        self._address, self._upkeep = str(settings.record), Upkeep(settings)
        self._sync, self._required = settings.record_sync, settings.record_required
        self._group: list[Entry] = []  # not in the queue yet
        self._queue: queue.SimpleQueue[list[Entry] | Call | None] = queue.SimpleQueue()
        self._entries: list[Entry] = []  # taken from the queue, not on disk
        self._waiting = self._waiting_bytes = 0
        self._is_writing = False  # whether a group is in the queue or taken from it
        self._broken: str | None = "the decision record is not open yet"
        self._store: Store | None = None
        self._chain = Chain()
        self._attempt = (0, 0)  # the last commit of entries: the number of its last record, and how many entries
        self._next_checkpoint, self._changed, self._closing = 0.0, True, False
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)

    async def start(self) -> None:
        """Open the record. If its database does not answer, it is tried again and again. Raises ConfigurationError."""
        log.setLevel(logging.INFO)  # checkpoints are evidence, whatever else is logged
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._open)
        except RecordUnavailable as error:
            self._broken = error.message
        self._thread.start()

    # -- the event loop ----------------------------------------------------------------------------------

    async def keep(self, decision: Decision, answer: bytes, **origin: Any) -> str | None:
        """Record a decision before its answer is sent. Returns its id; None if it could not be recorded.

        origin: caller, request_id and route. With record_sync, the record is on disk when this returns.
        Raises RecordUnavailable if records are required.
        """
        try:
            if self._broken:
                raise RecordUnavailable(self._broken, retry_after_s=1)
            if self._waiting >= MOST_WAITING or self._waiting_bytes > MOST_WAITING_BYTES:
                raise RecordUnavailable("too many decisions wait for the decision record", retry_after_s=1)
            entry = self._entry(decision, answer, origin)
            self._waiting += 1
            self._waiting_bytes += entry.size
            self._group.append(entry)
            if len(self._group) == 1:
                if self._sync:
                    self._gather()
                else:
                    self._loop.call_later(GROUP_S, self._hand_over)
            if entry.done is not None:
                await entry.done
        except RecordUnavailable:
            RECORDS.labels("lost" if not self._required else "refused").inc()
            if self._required:
                raise
            return None
        RECORDS.labels("kept").inc()
        return str(entry.facts["id"])

    def _entry(self, decision: Decision, answer: bytes, origin: dict[str, Any]) -> Entry:
        spec = decision.spec
        facts = {
            "id": new_id(),
            "time": now_us(),
            "kind": decision.kind,
            **origin,
            "model": spec.name,
            "version": spec.version,
            "manifest": decision.manifest,
            "program": __version__,
            "rows": row_count(decision.arrays),
            "about": decision.about,
            **({} if decision.asked is None else {"asked": decision.asked}),
        }
        return Entry(facts, decision, answer, self._loop.create_future() if self._sync else None)

    def _gather(self, seen: int = 0, quiet: int = 0, until: float = 0.0) -> None:
        """Hand the group over when it does not grow any more. A group that waits for a commit is gathered after it."""
        if self._is_writing or not self._group:
            return
        count, until = len(self._group), until or time.monotonic() + MOST_GATHER_S
        quiet = quiet + 1 if count == seen else 0
        if quiet == QUIET_TURNS or time.monotonic() > until:
            self._hand_over()
        else:
            self._loop.call_soon(self._gather, count, quiet, until)

    def _hand_over(self) -> None:
        if self._group:
            self._queue.put(self._group)
            self._group, self._is_writing = [], True

    async def run(self, function: Callable[[Store, Chain], T]) -> T:
        """What a function returns that reads the record or adds to this process's chain. Raises its error.

        Decisions that were kept before are on disk when it is called.
        """
        if self._broken:
            raise RecordUnavailable(self._broken, retry_after_s=1)
        call = Call(function, Future())
        self._hand_over()
        self._queue.put(call)
        result: T = await asyncio.wrap_future(call.done)
        return result

    async def close(self) -> None:
        """Write what waits, and a last checkpoint."""
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, 10)
        if self._store:
            self._store.close()

    def _settle(self, entries: list[Entry], error: WhyserveError | None) -> None:
        self._waiting -= len(entries)
        self._waiting_bytes -= sum(entry.size for entry in entries)
        for done in (entry.done for entry in entries if entry.done and not entry.done.done()):
            if error:
                done.set_exception(error)
            else:
                done.set_result(None)
        self._is_writing = False
        if self._sync:
            self._gather()

    # -- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            call = self._take()
            try:
                self._write()
                self._checkpoint()
            except RecordUnavailable as error:
                self._fail(error)
            except Exception as error:
                log.exception("the decision record failed")
                self._fail(RecordUnavailable(f"the decision record failed: {error}"))
            if call:
                self._answer(call)

    def _take(self) -> Call | None:
        """Wait for groups of decisions, and take them up to a call or an end."""
        wait_s = RETRY_S if self._broken else max(0.0, self._next_checkpoint - time.monotonic())
        while True:
            try:
                item = self._queue.get(timeout=wait_s)
            except queue.Empty:
                return None
            if not isinstance(item, list):
                self._closing = item is None
                return item
            self._entries += item
            wait_s = 0.0

    def _open(self) -> None:
        """Open the store, with the chain as it is on disk. Raises ConfigurationError and RecordUnavailable."""
        self._store = self._store or Store(self._address)
        stored = self._store.resume(self._chain.writer)
        # A commit without an answer may have succeeded.
        end, count = self._attempt
        if count and stored.seq >= end:
            self._written(count)
        self._chain, self._broken = stored, None

    def _write(self) -> None:
        if self._broken:
            self._open()
        self._twice(self._append)

    def _twice(self, function: Callable[[Store], T]) -> T:
        """Call a function, and again if the database fails: after its restart, only new connections work."""
        assert self._store is not None
        try:
            return function(self._store)
        except RecordUnavailable:
            self._open()
            return function(self._store)

    def _append(self, store: Store) -> None:
        records = []
        for each in self._entries:
            content = content_of(each.decision, each.answer, store.key)
            records.append(self._chain.add(content=content, **each.facts))
        if records:
            self._attempt = self._chain.seq, len(records)
            store.append(self._chain, records)
            self._written(len(records))

    def _written(self, count: int) -> None:
        entries, self._entries = self._entries[:count], self._entries[count:]
        self._attempt, self._changed = (0, 0), True
        self._loop.call_soon_threadsafe(self._settle, entries, None)

    def _answer(self, call: Call) -> None:
        def function(store: Store) -> Any:
            chain = copy(self._chain)
            found = call.function(store, chain)
            self._changed = self._changed or chain.seq > self._chain.seq
            self._chain = chain
            return found

        if not call.done.set_running_or_notify_cancel():
            return  # the caller does not wait any more
        try:
            if self._broken:
                raise RecordUnavailable(self._broken, retry_after_s=1)
            call.done.set_result(self._twice(function))
        except Exception as error:  # the caller gets it
            call.done.set_exception(error)

    def _fail(self, error: RecordUnavailable) -> None:
        """Refuse decisions until the store answers again. Those that nobody waits for are kept."""
        if not self._broken:
            log.error("%s", error.message)
        self._broken = error.message
        if self._sync:
            entries, self._entries, self._attempt = self._entries, [], (0, 0)
            self._loop.call_soon_threadsafe(self._settle, entries, error)

    def _checkpoint(self) -> None:
        """Close the chains once a minute, and at the end, if something was recorded."""
        if self._closing or time.monotonic() >= self._next_checkpoint:
            self._next_checkpoint = time.monotonic() + CHECKPOINT_S
            if self._changed:
                self._twice(lambda store: self._upkeep(store, self._chain))
                self._changed = False
