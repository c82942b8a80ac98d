"""The debug mode of jobs (reference/wire.md 2.11, 3.4)."""

from __future__ import annotations

from attrs import frozen
from twisted.logger import Logger

from pandatx.domain import debug_mode
from pandatx.domain.caller import Caller
from pandatx.domain.query_requests import DebugMode
from pandatx.store import debug_mode as store
from pandatx.store.database import Database, Transaction

log = Logger()


@frozen
class DebugModes:
    """Turn the debug mode of a job on or off; its pilot learns of it with its next report."""

    _database: Database

    async def change(self, caller: Caller, request: DebugMode) -> str:
        """What became of it, in the words that clients know; ``debug_mode.SUCCEEDED`` if it was done."""
        reply = await self._database.transaction("debug_mode.change", self._change, caller, request)
        log.info(
            "job {id}: debug mode {mode} by {who}: {reply}",
            id=request.job_id,
            mode="on" if request.mode else "off",
            who=caller.name,
            reply=reply,
        )
        return reply

    async def _change(self, tx: Transaction, caller: Caller, request: DebugMode) -> str:
        row, active = await store.lock(tx, request.job_id)
        verdict = debug_mode.decide(caller, request.job_id, row, request.mode)
        if row is None or verdict.reply != debug_mode.SUCCEEDED:
            return verdict.reply
        if not request.mode:
            await store.let_go(tx, request.job_id)
        elif (quota := debug_mode.quota(caller, row)) is not None:
            refusal = debug_mode.over(quota, await store.hold(tx, quota.holder, debug_mode.CHANGEABLE))
            if refusal is not None:
                return refusal
            await store.note(tx, request.job_id, quota.holder)
        await store.set_tags(tx, request.job_id, active, verdict.tags)
        return verdict.reply
