"""Ending jobs on request, commands for pilots, and jobs that begin again (reference/lifecycle.md 1.6 and 6.7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import psycopg2
from attrs import Factory, define, evolve, fields, frozen
from twisted.logger import Logger

from pandatx import metrics
from pandatx.clock import Clock
from pandatx.domain import kill
from pandatx.domain.caller import Caller
from pandatx.domain.job import Job
from pandatx.domain.kill import KillAction, KillOrder, KillRow, KillVerdict
from pandatx.errors import NotPermitted, PandaError
from pandatx.services.closer import Closer
from pandatx.services.groups import Groups
from pandatx.store import archive as jobs_store
from pandatx.store import killing as store
from pandatx.store.archive import Change
from pandatx.store.database import Database, Transaction, in_batches

log = Logger()

TOGETHER: Final = 100
"""Jobs in one transaction."""
LOCK_WAIT: Final = 5.0
"""Seconds that a kill waits for others that hold its job."""
SERVER: Final = Caller(name="PanDA", production=True)
"""Who ends jobs where nobody asked for it."""
_USER_LABELS: Final = frozenset(("user", "panda"))
_ROW_NAMES: Final = tuple(each.name for each in fields(KillRow) if each.name != "active")


@define
class _Done:
    """What a transaction did."""

    answers: dict[int, bool] = Factory(dict)
    ended: list[Job] = Factory(list)
    closing: list[Job] = Factory(list)
    held: list[int] = Factory(list)


@frozen
class Killing:
    """End jobs, or tell their pilots to. ``set_up`` is given the jobs, with files, that are to be set up again."""

    _database: Database
    _clock: Clock
    _closer: Closer
    _set_up: Callable[[Sequence[Job]], None]

    async def kill(
        self,
        caller: Caller,
        ids: Sequence[int],
        code: int | None = None,
        options: tuple[str, ...] = (),
        use_email_as_id: bool = False,
    ) -> list[bool]:
        """End jobs; for each whether it was done: ended at once, or flagged for its pilot.

        False for a job that is not the caller's to end, is not alive, is being killed already, or is held by others
        for too long. ``use_email_as_id`` of older clients has no effect: who asks is who has authenticated.
        """
        order = KillOrder.of(caller, code, options)
        answers: dict[int, bool] = {}
        for some in in_batches(sorted(set(ids)), TOGETHER):
            done = await self._some(some, order, waiting=False)
            answers |= done.answers
            for panda_id in done.held:
                answers |= await self._alone(panda_id, order)
        return [answers.get(panda_id, False) for panda_id in ids]

    async def expire(
        self,
        ids: Sequence[int],
        code: int,
        still: Callable[[Job], bool],
        options: tuple[str, ...] = (),
        name: str = SERVER.name,
    ) -> int:
        """End jobs for the server itself; how many have ended.

        Judged again by ``still`` once they are locked; those that others hold are left for the next time. The highest
        PandaIDs come first, since a build is the first of its jobs. ``name`` is the text of codes 50 and 52. A job that
        the database refuses to end stops no other; its fault is raised at the end.
        """
        order = KillOrder.of(evolve(SERVER, name=name), code, options)
        groups = Groups()

        async def end(some: Sequence[int]) -> int:
            return len((await self._some(some, order, waiting=False, still=still)).ended)

        for some in reversed(in_batches(sorted(set(ids)), TOGETHER)):
            await groups.apart(some, end)
        return groups.end()

    async def command(self, caller: Caller, job_id: int, text: str) -> str:
        """Leave a text for a job's pilot; what became of it, in the words that clients know."""
        reply = await self._database.transaction("killing.command", self._command, job_id, text)
        log.info("job {id}: {who} sends a command: {reply}", id=job_id, who=caller.name, reply=reply)
        return reply

    async def reassign(self, caller: Caller, ids: Sequence[int]) -> None:
        """Set jobs up again that no pilot has yet, as far as they are the caller's. NotPermitted where none is."""
        refused = 0
        for some in in_batches(sorted(set(ids)), TOGETHER):
            jobs, others = await self._database.transaction("killing.reassign", self._reassign, caller, some)
            refused += others
            if jobs:
                log.info("{who} reassigns {n} jobs", who=caller.name, n=len(jobs))
                self._set_up(jobs)
        if refused and refused == len(set(ids)):
            raise NotPermitted("jobs are reassigned by their owner or by the production role")

    # Killing

    async def _alone(self, panda_id: int, order: KillOrder) -> dict[int, bool]:
        """A job that others held: wait for them."""
        try:
            return (await self._some([panda_id], order, waiting=True)).answers
        except psycopg2.errors.LockNotAvailable:
            log.warn("job {id}: not killed, others hold it", id=panda_id)
            return {panda_id: False}

    async def _some(
        self, ids: Sequence[int], order: KillOrder, *, waiting: bool, still: Callable[[Job], bool] | None = None
    ) -> _Done:
        done = await self._database.transaction("killing.kill", self._kill, ids, order, waiting, still)
        for job in done.ended:
            metrics.JOBS_ENDED.labels(job.job_status).inc()
        if done.closing:
            try:
                await self._closer.close(done.closing)
            except (PandaError, psycopg2.Error) as error:
                log.warn("the blocks of killed jobs are not closed: {error}", error=error)
        return done

    async def _kill(
        self,
        tx: Transaction,
        ids: Sequence[int],
        order: KillOrder,
        waiting: bool,
        still: Callable[[Job], bool] | None = None,
    ) -> _Done:
        if still is not None:
            await jobs_store.guard(tx)
        if waiting:
            await jobs_store.wait_for(tx, ids, LOCK_WAIT)
        now, done = self._clock.now(), _Done()
        defined = await jobs_store.lock_defined(tx, ids)
        jobs = defined | await jobs_store.lock(tx, ids)
        if still is not None:
            jobs = {panda_id: job for panda_id, job in jobs.items() if still(job)}
        missing = [panda_id for panda_id in ids if panda_id not in jobs]
        if missing and not waiting and still is None:
            done.held = sorted(await jobs_store.alive(tx, missing))
        verdicts = {
            panda_id: kill.decide(_row(job, panda_id not in defined), order, now) for panda_id, job in jobs.items()
        }
        for panda_id, verdict in verdicts.items():
            done.answers[panda_id] = verdict.done
            log.info(
                "job {id}: kill by {who} with code {code}: {action} {reason}",
                id=panda_id,
                who=order.name,
                code=order.code,
                action=verdict.action.value,
                reason=verdict.reason,
            )
        flagged = {panda_id: v for panda_id, v in verdicts.items() if v.action is KillAction.FLAG}
        if flagged:
            diag = next(iter(flagged.values())).changes["task_buffer_error_diag"]
            await store.flag(tx, sorted(flagged), diag)
        ends = {panda_id: v for panda_id, v in verdicts.items() if v.action is KillAction.ARCHIVE}
        changes = [_change(jobs[panda_id], verdict) for panda_id, verdict in sorted(ends.items())]
        await jobs_store.archive(tx, changes, now)
        done.ended = [change.after for change in changes]
        done.closing = [job for job in done.ended if ends[job.panda_id].closes_datasets]
        return done

    # Commands and reassignment

    async def _command(self, tx: Transaction, panda_id: int, text: str) -> str:
        found, active, waiting = await store.pending(tx, panda_id)
        verdict = kill.command(panda_id, text, found=found, pending=waiting)
        if verdict.stored:
            await store.set_command(tx, panda_id, active, text)
        return verdict.reply

    async def _reassign(self, tx: Transaction, caller: Caller, ids: Sequence[int]) -> tuple[list[Job], int]:
        defined = await jobs_store.lock_defined(tx, ids)
        active = await jobs_store.lock(tx, ids)
        mine = {
            panda_id
            for panda_id, job in (defined | active).items()
            if caller.production or (caller.name and job.prod_user_name == caller.name)
        }
        again = await store.redefine(
            tx,
            [panda_id for panda_id in defined if panda_id in mine],
            [i for i, job in active.items() if i in mine and job.prod_source_label not in _USER_LABELS],
            self._clock.now(),
        )
        jobs = await jobs_store.lock_defined(tx, again) if again else {}
        return list(jobs.values()), len(defined) + len(active) - len(mine)


def _row(job: Job, active: bool) -> KillRow:
    return KillRow(active=active, **{name: getattr(job, name) for name in _ROW_NAMES})


def _change(job: Job, verdict: KillVerdict) -> Change:
    return Change(
        job=job,
        changes=verdict.changes | {"job_status": verdict.status},
        file_changes=jobs_store.outputs_failed(job) if verdict.fails_outputs else {},
        logged=verdict.status != job.job_status,
        last_attempt=verdict.ends_merge,
    )
