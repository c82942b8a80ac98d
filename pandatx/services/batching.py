"""Group commit: those that arrive while a batch is under way wait together for the next (rule R2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pandatx.errors import Busy

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@define(eq=False)
class Batcher(Generic[Item, Answer]):
    """One batch at a time, no timer: an idle batcher starts at once, a busy one collects.

    ``flush`` gets a batch and gives an answer, an exception, or a Deferred of either, for each item in order. At most
    one item per ``key`` is in a batch, so that two messages about one job are worked on in the order of their coming.
    What the items of a batch ``weigh`` together is no more than ``heaviest``, unless one alone weighs more.
    """

    _flush: Callable[[list[Item]], Awaitable[Sequence[Answer | Exception | Deferred[Answer]]]]
    _key: Callable[[Item], Hashable] | None = None
    largest: int = 500
    most_waiting: int = 20_000
    weigh: Callable[[Item], int] = lambda item: 0
    heaviest: int = 0
    _waiting: deque[tuple[Item, Deferred[Answer]]] = field(factory=deque)
    _running: bool = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, item: Item) -> Deferred[Answer]:
        """The answer to ``item``, once its batch is committed; Busy when too many wait already."""
        if len(self._waiting) >= self.most_waiting:
            raise Busy()
        answer: Deferred[Answer] = Deferred()
        self._waiting.append((item, answer))
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._run())
        return answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = self._next()
                await self._work(batch)
        finally:
            self._running = False

    async def _work(self, batch: list[tuple[Item, Deferred[Answer]]]) -> None:
        try:
            answers = await self._flush([item for item, _ in batch])
        except Exception:  # whatever it was, each caller learns it; the batcher goes on
            failure = Failure()  # type: ignore[no-untyped-call]
            for _, waiter in batch:
                _fire(waiter, failure)
        else:
            for (_, waiter), answer in zip(batch, answers, strict=True):
                _fire(waiter, answer)

    def _next(self) -> list[tuple[Item, Deferred[Answer]]]:
        if self._key is None:
            return [self._waiting.popleft() for _ in range(min(self.largest, len(self._waiting)))]
        batch: list[tuple[Item, Deferred[Answer]]] = []
        later: list[tuple[Item, Deferred[Answer]]] = []
        keys: set[Hashable] = set()
        weight = 0
        while self._waiting and len(batch) < self.largest:
            item = self._waiting[0][0]
            if (key := self._key(item)) in keys:
                later.append(self._waiting.popleft())
                continue
            weight += self.weigh(item)
            if batch and weight > self.heaviest:
                break
            keys.add(key)
            batch.append(self._waiting.popleft())
        self._waiting.extendleft(reversed(later))
        return batch


def _fire(waiter: Deferred[Answer], answer: Answer | Exception | Failure | Deferred[Answer]) -> None:
    if waiter.called:
        return
    if isinstance(answer, Deferred):
        answer.addBoth(lambda outcome: _fire(waiter, outcome))
        return
    if isinstance(answer, (Exception, Failure)):
        waiter.errback(answer)
    else:
        waiter.callback(answer)
