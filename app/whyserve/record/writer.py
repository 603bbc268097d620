"""Write the decisions of one API process: one thread, one chain, many decisions per commit."""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from whyserve import __version__
from whyserve.errors import RecordUnavailable, WhyserveError
from whyserve.model.rows import row_count
from whyserve.record.chain import Chain, new_id, now_us
from whyserve.record.content import Content, Hidden
from whyserve.record.decision import Decision
from whyserve.record.store import Store
from whyserve.record.upkeep import Upkeep
from whyserve.telemetry.metrics import RECORDS

T = TypeVar("T")
log = logging.getLogger("whyserve.record")

# Without record_sync, decisions wait so long for others. They must be on disk within a second.
GROUP_S = 0.2
# With record_sync, a commit waits until no further decision has come for so long.
PAUSE_S = 0.001
MOST_PER_COMMIT = 1000
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

    def content(self, key: bytes) -> bytes:
        given = self.decision
        explanation = b"" if given.explanation == self.answer else given.explanation
        filled = {name: x for name, x in given.filled(given.arrays).items() if x is not given.arrays[name]}
        content = Content(given.body, self.answer, explanation, given.arrays, given.background or {}, filled)
        if given.spec.record.omit or given.spec.record.hash:
            content = content.without(Hidden(given.spec, key))
        return content.pack()


@dataclass(frozen=True, slots=True)
class Call:
    """A function that the writer's thread calls with its store and its chain."""

    function: Callable[[Store, Chain], Any]
    done: "asyncio.Future[Any]"


class Recorder:
    """keep, run and close belong to one event loop."""

    def __init__(
        self,
        address: str,
        *,
        sync: bool = False,
        required: bool = True,
        keep_days: float | None = None,
        keep_mb: int | None = None,
        checkpoints: Path | None = None,
    ) -> None:
        """The settings of the record. checkpoints: the file that checkpoints are appended to as well."""
        self._address, self._sync, self._required = address, sync, required
        self._upkeep = Upkeep(keep_days, keep_mb, checkpoints)
        self._queue: queue.SimpleQueue[Entry | Call | None] = queue.SimpleQueue()
        self._waiting = self._waiting_bytes = 0
        self._broken: str | None = "the decision record is not open yet"
        self._store: Store | None = None
        self._chain = Chain()
        self._entries: list[Entry] = []  # taken from the queue, not on disk
        self._attempt = (0, 0)  # the last commit of entries: the number of its last record, and how many entries
        self._next_checkpoint, self._changed, self._closing = 0.0, True, False
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)

    async def start(self) -> None:
        """Open the record. If its database does not answer, it is tried again and again. Raises ConfigurationError."""
        log.setLevel(logging.INFO)  # checkpoints are evidence, whatever else is logged
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open)
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
            self._queue.put(entry)
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
        spec, asked = decision.spec, decision.asked
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
        }
        if asked is not None:
            facts["asked"] = asked
        return Entry(facts, decision, answer, self._loop.create_future() if self._sync else None)

    async def run(self, function: Callable[[Store, Chain], T]) -> T:
        """What a function returns that reads the record or adds to this process's chain. Raises its error."""
        if self._broken:
            raise RecordUnavailable(self._broken, retry_after_s=1)
        call = Call(function, self._loop.create_future())
        self._queue.put(call)
        result: T = await call.done
        return result

    async def close(self) -> None:
        """Write what waits, and a last checkpoint."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, 10)
        if self._store:
            self._store.close()

    def _settle(self, entries: list[Entry], error: WhyserveError | None) -> None:
        self._waiting -= len(entries)
        self._waiting_bytes -= sum(entry.size for entry in entries)
        for entry in entries:
            _settle(entry.done, None, error)

    # -- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            try:
                call = self._take()
                self._write()
                if call:
                    self._answer(call)
                if self._closing or time.monotonic() >= self._next_checkpoint:
                    self._checkpoint()
            except RecordUnavailable as error:
                self._fail(error)
            except Exception as error:
                log.exception("the decision record failed")
                self._fail(RecordUnavailable(f"the decision record failed: {error}"))

    def _take(self) -> Call | None:
        """Wait for decisions, and take them up to a call or an end."""
        if self._broken:
            time.sleep(RETRY_S)
        else:
            try:
                first = self._queue.get(timeout=max(0.0, self._next_checkpoint - time.monotonic()))
            except queue.Empty:
                return None
            if isinstance(first, Entry) and not self._sync:
                time.sleep(GROUP_S)
            if not self._accept(first):
                return first if isinstance(first, Call) else None
        pause_s = PAUSE_S if self._sync else 0.0
        while len(self._entries) < MOST_PER_COMMIT:
            try:
                each = self._queue.get(timeout=pause_s)
            except queue.Empty:
                break
            if not self._accept(each):
                return each if isinstance(each, Call) else None
        return None

    def _accept(self, item: Entry | Call | None) -> bool:
        if isinstance(item, Entry):
            self._entries.append(item)
            return True
        self._closing = self._closing or item is None
        return False

    def _open(self) -> None:
        """Open the store, with the chain as it is on disk. Raises ConfigurationError."""
        try:
            self._store = self._store or Store.open(self._address)
            stored = self._store.resume(self._chain.writer)
            # A commit without an answer may have succeeded.
            end, count = self._attempt
            if count and stored.seq >= end:
                self._written(count)
            self._chain, self._broken = stored, None
        except RecordUnavailable as error:
            self._broken = error.message

    def _write(self) -> None:
        if self._broken:
            self._open()
        if self._broken or not self._entries:
            return
        assert self._store is not None
        key = self._store.key
        records = [self._chain.add(content=each.content(key), **each.facts) for each in self._entries]
        self._attempt = self._chain.seq, len(records)
        self._store.append(self._chain, records)
        self._written(len(records))

    def _written(self, count: int) -> None:
        entries, self._entries = self._entries[:count], self._entries[count:]
        self._attempt, self._changed = (0, 0), True
        self._loop.call_soon_threadsafe(self._settle, entries, None)

    def _answer(self, call: Call) -> None:
        result, error = None, None
        chain = Chain(self._chain.writer, self._chain.seq, self._chain.last)
        try:
            if self._store is None or self._broken:
                raise RecordUnavailable(self._broken or "", retry_after_s=1)
            result = call.function(self._store, chain)
            self._changed = self._changed or chain.seq > self._chain.seq
            self._chain = chain
        except Exception as raised:  # the caller gets it
            error = raised
        self._loop.call_soon_threadsafe(_settle, call.done, result, error)

    def _fail(self, error: RecordUnavailable) -> None:
        """Refuse decisions until the store answers again. Those that nobody waits for are kept."""
        if not self._broken:
            log.error("%s", error.message)
        self._broken = error.message
        if self._sync:
            entries, self._entries, self._attempt = self._entries, [], (0, 0)
            self._loop.call_soon_threadsafe(self._settle, entries, error)

    def _checkpoint(self) -> None:
        if self._broken or self._store is None:
            return
        self._next_checkpoint = time.monotonic() + CHECKPOINT_S
        if self._changed:
            self._upkeep(self._store, self._chain)
            self._changed = False


def _settle(done: "asyncio.Future[Any] | None", result: Any, error: Exception | None) -> None:
    if done is not None and not done.done():
        if error:
            done.set_exception(error)
        else:
            done.set_result(result)
