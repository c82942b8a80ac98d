"""Asynchronous requests, put together: who takes them, who does them, and what nobody here can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen
from twisted.internet.threads import deferToThread

from pandatx.domain.async_work import EVENT_PICKING, FILE_RECOVERY, GREP, SLEEP_ECHO, WORKFLOW
from pandatx.foundations import Foundations
from pandatx.services.async_requests import AsyncRequests
from pandatx.services.async_work import AsyncWork, InChild, Missing, OnDemand, Work
from pandatx.services.owners import Owners
from pandatx.services.permissions_of_users import UserPermissions
from pandatx.services.recovery import FileRecoveries
from pandatx.services.relays import RELAYED, Relays
from pandatx.services.request_files import RequestFiles

GREP_HANDLER: Final = "pandatx.workers.requests:grep"
ECHO_HANDLER: Final = "pandatx.workers.requests:sleep_echo"
_NAME_ONE: Final = "name one in [pandatx] request_handlers"


@frozen(kw_only=True)
class Requests:
    """``asking`` stores and tells, ``work`` runs, ``files`` takes what older front ends have left.

    ``relays`` hand commands on at once.
    """

    asking: AsyncRequests
    work: AsyncWork
    files: RequestFiles
    relays: Relays


def make_requests(
    ground: Foundations, handlers: Mapping[str, str], permissions: UserPermissions, owners: Owners
) -> Requests:
    """``handlers`` are the operator's, by type of request."""
    clock, children = ground.clock, OnDemand(ground.requests)
    works = _works(ground, children, handlers)
    work = AsyncWork(ground.background, clock, children, works, ground.host, ground.state.instance)
    refused = {name: each.why for name, each in works.items() if isinstance(each, Missing)}
    asking = AsyncRequests(ground.database, clock, work.wake, permissions, owners, refused)
    files = RequestFiles(ground.config.files.cache_dir, asking, clock, deferToThread, works.keys() - refused)
    return Requests(asking=asking, work=work, files=files, relays=Relays(children, handlers))


def _works(ground: Foundations, pool: OnDemand, handlers: Mapping[str, str]) -> Mapping[str, Work]:
    config = ground.config
    settings = {
        "log_dir": str(config.ops.log_dir),
        "cache_dir": str(config.files.cache_dir),
        "storage": dict(config.jobs.storage),
    }
    ours: dict[str, Work] = {
        GREP.name: InChild(pool, GREP_HANDLER, settings),
        SLEEP_ECHO.name: InChild(pool, ECHO_HANDLER, settings),
        WORKFLOW.name: Missing(f"workflows need a workflow engine, and there is no handler for workflow: {_NAME_ONE}"),
        EVENT_PICKING.name: Missing(
            f"event picking needs an event index, and there is no handler for event_picking: {_NAME_ONE}"
        ),
        FILE_RECOVERY.name: FileRecoveries(ground.background, pool, config.jobs.storage, config.files.cache_dir),
    }
    return {
        **ours,
        **{kind: InChild(pool, target, settings) for kind, target in handlers.items() if kind not in RELAYED},
    }
