"""Giving activated jobs to the pilots that ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Final, Protocol

from attrs import Factory, define, evolve, field
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.fit import Want
from pandatx.domain.job import Job
from pandatx.domain.labels import accepted, counts_sent
from pandatx.domain.queues import Queue
from pandatx.domain.requests import JobRequest
from pandatx.domain.workers import may_speak_for
from pandatx.errors import NO_ROLE, RoleRequired
from pandatx.identity.names import compact_name
from pandatx.metrics import JOBS_GIVEN_BACK
from pandatx.services.claims import Acquired, Asking, Claims
from pandatx.services.facts import Facts
from pandatx.store import harvester
from pandatx.store.database import Database
from pandatx.store.dispatch import Slot

__all__ = ["Acquired", "Dispatch"]

log = Logger()

MOST_JOBS: Final = 100
"""Jobs for one request."""


class Noticed(Protocol):
    """Hears of each request of a pilot: answered, with a job or with none, or refused for want of a role."""

    def note(self, queue: str, want: Want, served: bool) -> None: ...

    def refuse(self, queue: str, want: Want) -> None: ...


class _Unnoticed:
    def note(self, queue: str, want: Want, served: bool) -> None:
        pass

    def refuse(self, queue: str, want: Want) -> None:
        pass


@define(eq=False)
class Dispatch:
    """Hand over activated jobs, each to one pilot; what a pilot is told was committed before."""

    _database: Database
    _clock: Clock
    _facts: Facts
    _hot_timeout: float = 10.0
    _random: Random = Factory(Random)
    _noticed: Noticed = Factory(_Unnoticed)
    _claims: Claims = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._claims = Claims(self._database, self._clock, self._facts, self._hot_timeout, self._random)

    async def acquire(self, caller: Caller, request: JobRequest, gone: Callable[[], bool] = lambda: False) -> Acquired:
        """Up to ``n_jobs`` jobs of a queue that fit the pilot; they are then ``sent``.

        A caller without the role may ask for its own jobs of label user only (reference/lifecycle.md 6.1), and is given
        nothing of what pilots are entrusted with. A request whose client is ``gone`` before its claim began is dropped.
        Raises RoleRequired, Busy, DatabaseAway.
        """
        if not caller.reports and request.prod_source_label != "user":
            self._noticed.refuse(request.site_name, self._asking(caller, request, gone).want)
            raise RoleRequired(NO_ROLE, caller.why_no_role)
        if request.timeout <= 10:  # the time budget of reference/wire.md 2.1.1: none is left to look for a job
            return Acquired()
        asking = self._asking(caller, await self._linked(caller, request), gone)
        acquired = await self._claims.submit(asking)
        self._noticed.note(asking.queue, asking.want, bool(acquired.jobs))
        return acquired if caller.reports else evolve(acquired, pilot_secrets=None)

    async def give_back(self, acquired: Acquired) -> None:
        """Activate again the jobs of an answer of which no byte has left the server (rule R3)."""
        if not acquired.jobs or acquired.claimed_at is None:
            return
        back = await self._claims.give_back(acquired.jobs, acquired.claimed_at)
        JOBS_GIVEN_BACK.inc(back)
        log.info("gave back {n} jobs whose answer was not delivered", n=back)

    async def settle(self) -> None:
        """Give back what was claimed in vain; called now and then, since nobody may ask again. Raises Busy."""
        await self._claims.settle()

    def activated(self, jobs: Iterable[Job]) -> None:
        """These jobs have just been activated and committed."""
        self._claims.activated(jobs)

    async def _linked(self, caller: Caller, request: JobRequest) -> JobRequest:
        """The request, but without a worker that the caller may not speak for; asked of those without a role only."""
        if caller.reports or not request.harvester_id or request.worker_id is None:
            return request
        owner = await self._database.transaction("dispatch.harvester", harvester.owner, request.harvester_id)
        return request if may_speak_for(caller, owner) else evolve(request, harvester_id=None)

    def _asking(self, caller: Caller, request: JobRequest, gone: Callable[[], bool]) -> Asking:
        queue = self._facts.queue(request.site_name)
        user = request.prod_user_id and compact_name(request.prod_user_id)
        if not caller.reports:
            user = caller.name
        scheduler = request.scheduler_id
        return Asking(
            queue=request.site_name,
            want=Want(
                labels=accepted(request.prod_source_label, request.computing_element, request.job_type, queue),
                memory=request.memory,
                disk=request.disk_space,
                walltime=request.remaining_time,
                resource_type=request.resource_type,
                user=user or None,
                task_id=request.task_id,
                background=request.background is True,
                ram_per_core=self._mean_rss_limit(queue),
            ),
            slot=Slot(
                node=(request.node or "")[:128] or None,
                computing_element=(request.computing_element or "")[:128] or None,
                scheduler_id=(scheduler or "")[:128] or None,
                harvester_id=request.harvester_id,
                worker_id=request.worker_id if request.harvester_id else None,
            ),
            n=max(1, min(request.n_jobs or 1, MOST_JOBS)),
            counts_sent=counts_sent(request.prod_source_label),
            gone=gone,
            since=self._clock.seconds(),
        )

    def _mean_rss_limit(self, queue: Queue | None) -> float | None:
        """MB per core for a pushed queue whose running jobs use more than they should (reference/lifecycle.md 6.2)."""
        if queue is None or not queue.pushed or not queue.mean_rss:
            return None
        known = self._facts.known
        if known.parameters.get("meanrss", "IGNORE_MEANRSS", False):
            return None
        return queue.mean_rss if known.memory_per_core.get(queue.name, 0.0) > queue.mean_rss else None
