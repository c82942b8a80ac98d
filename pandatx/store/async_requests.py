"""Asynchronous requests and their results, in tables that older servers and JEDI's daemons read too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from attrs import evolve, frozen

from pandatx.domain.async_work import (
    ANY_MACHINE,
    LONGEST_ERROR,
    MOST_ATTEMPTS,
    OUR_MACHINE,
    SERVICE,
    Claim,
    Ending,
    Status,
    given_up,
    kind_of,
)
from pandatx.store.database import Transaction
from pandatx.store.queries import load

LEASE: Final = timedelta(seconds=60)
"""For so long an attempt is its server's; while the server lives it renews that."""
OTHERS: Final = timedelta(seconds=480)
"""A call of an older server that has run for so long has ended without a word: its own rule."""

_MACHINE = f"(CASE WHEN r.machine_name IN ('{ANY_MACHINE}', '{OUR_MACHINE}') THEN r.machine_name ELSE %(host)s END)"
SQL = load(
    __file__,
    machine=_MACHINE,
    joins=f"""
  LEFT JOIN {{panda}}.async_results a ON a.request_id = r.request_id AND a.machine_name = {_MACHINE}
  LEFT JOIN {{own}}.async_work w ON w.request_id = r.request_id AND w.machine_name = {_MACHINE}""",
    for_us=f"""
       (r.machine_name IN (%(host)s, '{OUR_MACHINE}')
        OR (r.service_name = '{SERVICE}'
            AND (r.machine_name = '{ANY_MACHINE}'
                 OR (coalesce(r.machine_name, '') = '' AND strpos(r.expected_machines, %(quoted)s) > 0))))""",
    free="""
       (a.request_id IS NULL OR a.status = 'pending'
        OR (a.status = 'running' AND coalesce(a.started_at, '-infinity') <
            CASE WHEN w.attempt = a.attempts THEN %(now)s::timestamp ELSE %(others)s::timestamp END))
       AND (w.until IS NULL OR w.until <= %(now)s OR w.attempt <> a.attempts)""",
)


@frozen(kw_only=True)
class Stored:
    """A request as it is asked after."""

    kind: str
    parameters: dict[str, Any]
    expected: list[str]
    results: list[dict[str, Any]]


@frozen(kw_only=True)
class NewRequest:
    """A request to be stored; ``machine`` and ``service`` say who is to answer it."""

    request_id: str
    kind: str
    parameters: dict[str, Any]
    service: str | None
    machine: str | None
    expected: list[str]
    created_at: datetime

    def of(self, machines: list[str]) -> NewRequest:
        """The same, to be answered by these."""
        return evolve(self, expected=machines)

    def known_as(self, request_id: str, created_at: datetime) -> NewRequest:
        """The same under an id that it has already."""
        return evolve(self, request_id=request_id, created_at=created_at)


async def insert(tx: Transaction, request: NewRequest) -> bool:
    """Store a request; False where one of its id is there."""
    result = await tx.run(
        SQL.insert,
        request_id=request.request_id,
        kind=request.kind,
        service=request.service,
        machine=request.machine,
        parameters=orjson.dumps(request.parameters).decode(),
        expected=orjson.dumps(request.expected).decode(),
        created_at=request.created_at,
    )
    return result.count > 0


async def alive(tx: Transaction, service: str, since: datetime) -> list[str]:
    """The machines of a service that were seen since."""
    return (await tx.run(SQL.alive, service=service, since=since)).column("machine_name")


async def beat(tx: Transaction, machine: str, now: datetime) -> None:
    """Say that a machine serves."""
    await tx.run(SQL.beat, machine=machine, service=SERVICE, now=now)


async def find(tx: Transaction, request_id: str) -> Stored | None:
    """A request with its results."""
    row = (await tx.run(SQL.request, request_id=request_id)).one()
    if row is None:
        return None
    results = (await tx.run(SQL.results, request_id=request_id)).dicts()
    return Stored(
        kind=row["request_type"],
        parameters=_object(row["parameters"]),
        expected=_list(row["expected_machines"]),
        results=results,
    )


async def claim(
    tx: Transaction, kinds: Sequence[str], host: str, instance: str, now: datetime, limit: int
) -> list[Claim]:
    """Begin up to ``limit`` attempts on this machine; counted and leased by the time this is committed."""
    for_us = {"host": host, "quoted": f'"{host}"', "now": now, "others": now - OTHERS}
    locked = (await tx.run(SQL.lock, kinds=list(kinds), limit=limit, **for_us)).dicts()
    ids = []
    for row in locked:
        if row["attempts"] < MOST_ATTEMPTS:
            ids.append(row["request_id"])
            continue
        error = given_up(row["error_msg"])[:LONGEST_ERROR]
        await tx.run(SQL.give_up, request_id=row["request_id"], machine=row["machine"], error=error, now=now)
    if not ids:
        return []
    begun = await tx.run(SQL.claim, ids=ids, instance=instance, until=now + LEASE, **for_us)
    return [
        Claim(
            request_id=row["request_id"],
            kind=kind_of(row["request_type"]),
            machine=row["machine"],
            parameters=_object(row["parameters"]),
            created_at=row["created_at"] or now,
            attempts=row["attempts"],
        )
        for row in begun.dicts()
    ]


async def renew(tx: Transaction, claims: Sequence[Claim], instance: str, now: datetime) -> None:
    """Keep attempts ours for another lease."""
    await tx.run(
        SQL.renew,
        ids=[claim.request_id for claim in claims],
        machines=[claim.machine for claim in claims],
        attempts=[claim.attempts for claim in claims],
        instance=instance,
        until=now + LEASE,
    )


async def adopt(tx: Transaction, instances: Sequence[str], now: datetime) -> int:
    """Set free what servers that are gone had in hand."""
    return (await tx.run(SQL.adopt, instances=list(instances), now=now)).count


async def end(tx: Transaction, claim: Claim, ending: Ending, instance: str, now: datetime) -> bool:
    """Write how an attempt ended; False where it is not ours any more."""
    result = await tx.run(
        SQL.end,
        request_id=claim.request_id,
        machine=claim.machine,
        attempt=claim.attempts,
        instance=instance,
        until=now + ending.pause,
        status=ending.status.value,
        result=ending.result,
        stderr=ending.stderr,
        return_code=ending.return_code,
        error=None if ending.error is None else ending.error.replace("\0", "")[:LONGEST_ERROR],
        truncated=int(ending.truncated),
        finished_at=None if ending.status is Status.PENDING else now,
        uncounted=int(ending.uncounted),
    )
    return result.count > 0


async def forget(tx: Transaction, before: datetime, limit: int) -> int:
    """Drop up to ``limit`` requests that were stored before, with all that is known of them."""
    ids = (await tx.run(SQL.old, before=before, limit=limit)).column("request_id")
    if ids:
        await tx.run(SQL.drop_work, ids=ids)
        await tx.run(SQL.drop_results, ids=ids)
        await tx.run(SQL.drop_requests, ids=ids)
    else:
        await tx.run(SQL.drop_left_work, before=before)
    return len(ids)


def _object(text: str | None) -> dict[str, Any]:
    """Parameters as others may have written them."""
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _list(text: str | None) -> list[str]:
    try:
        found = orjson.loads(text or "[]")
    except orjson.JSONDecodeError:
        return []
    return [str(each) for each in found] if isinstance(found, list) else []
