"""The operator's [daemon] section and our own daemons, made into one list (R42)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from pandatx.config import DaemonEntry, DaemonSettings, LeftOut, default_timeout
from pandatx.scheduler.catalogue import CATALOGUE, GUIDE_PACKAGE, BuiltIn
from pandatx.scheduler.context import Native
from pandatx.scheduler.daemon import Daemon
from pandatx.scheduler.scripts import Script
from pandatx.workers.pool import ProcessPool


@frozen(kw_only=True)
class Plan:
    """The daemons to run, and the entries that are left out."""

    daemons: tuple[Daemon, ...]
    faults: tuple[LeftOut, ...] = ()


def plan(settings: DaemonSettings, natives: Mapping[str, Native], pool: ProcessPool) -> Plan:
    """What is to run: the entries of an enabled section, and those of ours that it neither changes nor disables.

    A module of the guide's package is one of ``natives`` by its name; a module of any other package runs in the pool.
    An entry of one of our daemons changes it even where the section as a whole is not enabled.
    """
    daemons, faults = [], list(settings.faults)
    for entry in settings.entries:
        built_in = CATALOGUE.get(entry.module)
        ours = built_in is not None and built_in.ours
        if not (settings.enable or ours):
            continue
        if entry.module in natives and (ours or settings.package == GUIDE_PACKAGE):
            always_sync = built_in is not None and ours and built_in.sync
            daemons.append(_native(entry, natives[entry.module], always_sync))
        elif settings.package == GUIDE_PACKAGE:
            faults.append(LeftOut(name=entry.name, why=f"this server has no daemon {entry.module}"))
        else:
            daemons.append(_script(entry, settings.package, pool))
    named = {name for entry in settings.entries for name in (entry.name, entry.module)} | set(settings.disabled)
    for built_in in CATALOGUE.values():
        if built_in.ours and built_in.name in natives and built_in.name not in named:
            daemons.append(_built_in(built_in, natives[built_in.name]))
    return Plan(daemons=tuple(daemons), faults=tuple(faults))


def _native(entry: DaemonEntry, code: Native, always_sync: bool) -> Daemon:
    return Daemon(
        name=entry.name,
        period=entry.period,
        timeout=entry.timeout,
        code=code,
        sync=entry.sync or always_sync,
        loop=entry.loop,
        arguments=entry.arguments,
    )


def _script(entry: DaemonEntry, package: str, pool: ProcessPool) -> Daemon:
    script = Script(pool, f"{package}.{entry.module}", entry.name, entry.timeout)
    return Daemon(
        name=entry.name,
        period=entry.period,
        timeout=entry.timeout,
        code=script,
        sync=entry.sync,
        loop=entry.loop,
        kill=script.kill,
        arguments=entry.arguments,
    )


def _built_in(row: BuiltIn, code: Native) -> Daemon:
    return Daemon(
        name=row.name,
        period=row.period,
        timeout=row.timeout or default_timeout(row.period),
        code=code,
        sync=row.sync,
        loop=row.loop,
    )
