"""What a server remembers of a queue's activated jobs between two claims (reference/database.md 1.3 and 1.5)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Final, NamedTuple

from attrs import Factory, define

from pandatx.domain.fit import Key, Mark, Want, key_of, mark_of
from pandatx.domain.job import Job

MISS_LASTS: Final = timedelta(seconds=10)
_TOLD: Final = 256
_MISSES: Final = 1024


class Ticket(NamedTuple):
    """The moment at which a claim or a reading began: what the summary is told later, that one may not have seen."""

    number: int


class Head(NamedTuple):
    """A key and the place from which to search it."""

    key: Key
    mark: Mark


@define
class QueueSummary:
    """The keys of one queue's activated jobs, each with a mark: no job of the key that we know of stands before it.

    Take a ``ticket`` before a claim or a reading begins, give it back with the outcome. Tell of every job that this
    server activates, gives back or rolls back, **after** its commit and before anybody is answered. Then no job that
    was told of is ever hidden from a want that fits it, whatever claims and readings are under way beside it.
    """

    read_at: datetime | None = None
    _marks: dict[Key, Mark] = Factory(dict)
    _told: dict[Key, list[tuple[int, Mark]]] = Factory(dict)
    _misses: dict[Key, dict[Want, datetime]] = Factory(dict)
    _fitting: dict[Want, tuple[Key, ...]] = Factory(dict)
    _number: int = 0

    def ticket(self) -> Ticket:
        return Ticket(self._number)

    def age(self, now: datetime) -> timedelta:
        """How old the last reading is; without one, as old as can be."""
        return timedelta.max if self.read_at is None else now - self.read_at

    def __len__(self) -> int:
        return len(self._marks)

    def keys_for(self, want: Want, ranks: Mapping[str, int], now: datetime, limit: int = 16) -> list[Head]:
        """The first keys in which a want can find a job: by rank of their share (none: last), then by their mark.

        Leaves out keys that this want has searched in vain in the last ten seconds. Nothing left means "no jobs",
        which may be said only of a summary that was read a moment ago.
        """
        fitting = self._fitting.get(want)
        if fitting is None:
            if len(self._fitting) >= _MISSES:
                self._fitting.clear()
            fitting = self._fitting[want] = tuple(key for key in self._marks if want.may_find(key))
        last = len(ranks) + 1
        marks, misses = self._marks, self._misses
        if misses:
            fitting = tuple(key for key in fitting if key not in misses or misses[key].get(want, now) <= now)
        found = [(ranks.get(key.gshare, last), marks[key], key) for key in fitting]
        found.sort()
        return [Head(key, mark) for _, mark, key in found[:limit]]

    def took(self, key: Key, marks: Iterable[Mark], want: Want, ticket: Ticket) -> None:
        """A claim that began at the ticket has taken these jobs of a key: the next one starts behind them.

        Not when the want had passed over jobs of the key that others may have, nor beyond a job told of since.
        """
        reached = max(marks, default=None)
        at = self._marks.get(key)
        if reached is None or at is None or not want.covers(key):
            return
        since = self._since(key, ticket)
        self._marks[key] = max(at, reached if since is None else min(reached, since))

    def gave_fewer(self, key: Key, want: Want, ticket: Ticket, now: datetime) -> None:
        """A claim came to the end of a key: the key goes, or, if another want may find more there, a miss is kept."""
        since = self._since(key, ticket)
        if not want.covers(key):
            if since is None:
                self._remember(key, want, now)
        elif since is not None:
            self._put(key, since)
        elif self._marks.pop(key, None) is not None:
            self._fitting.clear()

    def activated(self, key: Key, priority: int, panda_id: int, job: Job | None = None) -> None:
        """A job of a key can be had (again): activated by us, given back, or its claim rolled back.

        With the job itself, only those misses are forgotten whose want it fits.
        """
        self._tell(key, Mark(-priority, panda_id), job)

    def offered(self, job: Job) -> None:
        """``activated`` for a job at hand."""
        self._tell(key_of(job), mark_of(job), job)

    def replace(self, rows: Iterable[tuple[Key, Mark]], now: datetime, ticket: Ticket) -> None:
        """The keys as just read, by a reading that began at the ticket; what was told of since is kept beside them."""
        told = {key: mark for key in self._told if (mark := self._since(key, ticket)) is not None}
        self._number += 1
        marks = dict(rows)
        for key, mark in told.items():
            marks[key] = min(mark, marks.get(key, mark))
        if marks.keys() != self._marks.keys():
            self._fitting.clear()
        self._marks = marks
        # A claim that is under way may have searched before a row of this reading was there.
        self._told = {key: [(self._number, mark)] for key, mark in marks.items()}
        self.read_at = now

    def _tell(self, key: Key, mark: Mark, job: Job | None) -> None:
        self._number += 1
        told = self._told.setdefault(key, [])
        while told and told[-1][1] >= mark:  # whoever must mind the older one must mind this one, which is lower
            told.pop()
        told.append((self._number, mark))
        if len(told) > _TOLD:  # the lower mark with the later number: too careful, never wrong
            told[:2] = [(told[1][0], told[0][1])]
        at = self._marks.get(key)
        self._put(key, mark if at is None else min(at, mark))
        misses = self._misses.get(key)
        if misses:
            self._misses[key] = (
                {} if job is None else {want: till for want, till in misses.items() if not want.fits(job)}
            )

    def _put(self, key: Key, mark: Mark) -> None:
        if key not in self._marks:
            self._fitting.clear()
        self._marks[key] = mark

    def _since(self, key: Key, ticket: Ticket) -> Mark | None:
        """The lowest mark of a key told of after the ticket; marks rise in the list, so it is the first one."""
        told = self._told.get(key)
        if not told or told[-1][0] <= ticket.number:
            return None
        return told[bisect_right(told, ticket.number, key=itemgetter(0))][1]

    def _remember(self, key: Key, want: Want, now: datetime) -> None:
        misses = self._misses.setdefault(key, {})
        if len(misses) >= _MISSES:
            misses = self._misses[key] = {other: till for other, till in misses.items() if till > now}
            if len(misses) >= _MISSES:
                misses.clear()
        misses[want] = now + MISS_LASTS
