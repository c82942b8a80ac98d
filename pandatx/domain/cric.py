"""Sites, storage endpoints and what queues use of them: the records, and what of them is stored (lifecycle.md 3.5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from attrs import frozen

NAME_WIDTH: Final = 52
_ROLES: Final = ("read_lan", "write_lan")
_DEFAULT: Final = "default"
_TOLD: Final = 20


@frozen(kw_only=True)
class Site:
    """An active site; ``endpoints`` and ``queues`` are those active at it."""

    name: str
    role: str
    tier_level: int | None
    endpoints: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()


@frozen(kw_only=True)
class Endpoint:
    """An active storage endpoint and the site that it is of."""

    name: str
    site: str
    token: str | None
    type: str | None
    is_tape: bool


@frozen(kw_only=True)
class QueueStorages:
    """The site a queue computes at, and its endpoints by role, in the order of preference."""

    name: str
    site: str
    storages: Mapping[str, tuple[str, ...]]


@frozen(kw_only=True)
class Space:
    """Space of an endpoint in GB; None where nothing is said of it."""

    used: int | None = None
    free: int | None = None
    total: int | None = None
    expired: int | None = None
    min_free: int | None = None
    unavailable: int | None = None
    at: datetime | None = None


@frozen(kw_only=True)
class EndpointRow:
    """An endpoint as it is to be stored; None for what no dump says: then what is stored stays."""

    name: str
    site: str
    token: str | None
    type: str | None
    is_tape: str
    no_write: str | None
    no_read: str | None
    exclusions: Mapping[str, str] | None
    space: Space


@frozen(kw_only=True)
class Relation:
    """What a queue uses an endpoint for, in one scope (default, or as of read_lan_analysis: analysis)."""

    queue: str
    endpoint: str
    scope: str
    roles: str
    is_local: str
    order_read: int | None
    order_write: int | None

    @property
    def default_read(self) -> str:
        return "Y" if self.order_read == 1 else "N"

    @property
    def default_write(self) -> str:
        return "Y" if self.order_write == 1 else "N"


@frozen(kw_only=True)
class Exclusions:
    """What must not be written to or read, and the status of activities that are not as usual; None: not known."""

    write: frozenset[str] | None = None
    read: frozenset[str] | None = None
    activities: Mapping[str, Mapping[str, str]] | None = None


@frozen(kw_only=True)
class Tables:
    """What is to be stored. ``known_queues`` and ``known_endpoints``: what else may stay; ``faults``: a line each."""

    sites: tuple[Site, ...]
    queues: Mapping[str, str]
    endpoints: tuple[EndpointRow, ...]
    relations: tuple[Relation, ...]
    known_queues: frozenset[str]
    known_endpoints: frozenset[str]
    faults: tuple[str, ...]


RelationKey = tuple[str, str, str]


@frozen(kw_only=True)
class Stored:
    """What is there: sites; queues and endpoints, each with its site; and the keys of relations."""

    sites: frozenset[str]
    queues: Mapping[str, str | None]
    endpoints: Mapping[str, str | None]
    relations: frozenset[RelationKey]


@frozen(kw_only=True)
class Leftovers:
    """What is stored and belongs there no more, by its keys."""

    sites: frozenset[str]
    queues: frozenset[str]
    endpoints: frozenset[str]
    relations: frozenset[RelationKey]


def leftovers(stored: Stored, tables: Tables) -> Leftovers:
    """What the dumps no longer have, and what is of a site that is not active any more."""
    active = {one.name for one in tables.sites}
    written = {one.name for one in tables.endpoints}
    keys = {(one.queue, one.endpoint, one.scope) for one in tables.relations}
    return Leftovers(
        sites=stored.sites - active,
        queues=frozenset(
            name
            for name, site in stored.queues.items()
            if name not in tables.known_queues or (name not in tables.queues and site not in active)
        ),
        endpoints=frozenset(
            name
            for name, site in stored.endpoints.items()
            if name not in tables.known_endpoints or (name not in written and site not in active)
        ),
        relations=stored.relations - keys,
    )


def tables_of(
    sites: Mapping[str, Site],
    endpoints: Mapping[str, Endpoint],
    queues: Mapping[str, QueueStorages],
    exclusions: Exclusions,
    usage: Mapping[str, Space],
) -> Tables:
    """Put the dumps together: what is active everywhere is stored, and nothing that belongs to no active site."""
    rows: dict[str, EndpointRow] = {}
    at: dict[str, str] = {}
    strangers = set()
    for site in sites.values():
        for name in site.endpoints:
            if name in endpoints:
                rows.setdefault(name, _endpoint_row(endpoints[name], site.name, exclusions, usage.get(name, Space())))
        for name in site.queues:
            if name in queues:
                at.setdefault(name, site.name)
            else:
                strangers.add(name)
    known = frozenset(name for name, endpoint in endpoints.items() if name in rows or endpoint.site in sites)
    relations = tuple(
        one for queue in queues.values() for one in relations_of(queue, endpoints) if one.endpoint in known
    )
    wanted = {name for queue in queues.values() for role in _lan_roles(queue) for name in queue.storages[role]}
    faults = {
        "sites of queues are not active": {queue.site for queue in queues.values() if queue.site} - set(sites),
        "queues of sites have no description": strangers,
        "endpoints of queues are not active": wanted - known,
    }
    return Tables(
        sites=tuple(sites.values()),
        queues=at,
        endpoints=tuple(rows.values()),
        relations=relations,
        known_queues=frozenset(queues),
        known_endpoints=known,
        faults=tuple(f"{what}: {_listed(names)}" for what, names in faults.items() if names),
    )


def relations_of(queue: QueueStorages, endpoints: Mapping[str, Endpoint]) -> Iterator[Relation]:
    """What a queue uses its endpoints for, by its astorages; other roles than read_lan* and write_lan* are ignored."""
    uses: dict[tuple[str, str], dict[str, Any]] = {}
    for role in _lan_roles(queue):
        kind, scope = role_and_scope(role)
        order = "order_read" if kind == "read_lan" else "order_write"
        for name in dict.fromkeys(queue.storages[role]):
            use = uses.setdefault((name, scope), {"roles": [], "order_read": None, "order_write": None})
            use["roles"].append(kind)
            use[order] = 1 + sum(1 for (_, at), other in uses.items() if at == scope and other[order] is not None)
    for (name, scope), use in uses.items():
        if name in endpoints and fits(scope):
            local = endpoints[name].site == queue.site
            roles = ",".join(use.pop("roles"))
            yield Relation(
                queue=queue.name, endpoint=name, scope=scope, roles=roles, is_local="Y" if local else "N", **use
            )


def role_and_scope(role: str) -> tuple[str, str]:
    """``read_lan`` is (read_lan, default), ``read_lan_analysis`` is (read_lan, analysis)."""
    kind = next(kind for kind in _ROLES if role.startswith(kind))
    return kind, role.removeprefix(kind).removeprefix("_") or _DEFAULT


def _lan_roles(queue: QueueStorages) -> list[str]:
    return [role for role in queue.storages if role.startswith(_ROLES)]


def _endpoint_row(endpoint: Endpoint, site: str, exclusions: Exclusions, space: Space) -> EndpointRow:
    name, activities = endpoint.name, exclusions.activities
    return EndpointRow(
        name=name,
        site=site,
        token=endpoint.token,
        type=endpoint.type,
        is_tape="Y" if endpoint.is_tape else "N",
        no_write=None if exclusions.write is None else _yes_no(name in exclusions.write),
        no_read=None if exclusions.read is None else _yes_no(name in exclusions.read),
        exclusions=None if activities is None else activities.get(name, {}),
        space=space,
    )


def _yes_no(value: bool) -> str:
    return "Y" if value else "N"


def fits(name: str) -> bool:
    """Whether the tables can hold a name."""
    return 0 < len(name) <= NAME_WIDTH and name.isprintable()


def _listed(names: set[str]) -> str:
    more = len(names) - _TOLD
    return ", ".join(sorted(names)[:_TOLD]) + (f" and {more} more" if more > 0 else "")
