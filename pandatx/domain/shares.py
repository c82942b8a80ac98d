"""Global shares: the leaf a job belongs to, and which leaf has the least of its pledge (reference/lifecycle.md 6.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import Factory, define, field, frozen

UNDEFINED: Final = "Undefined"
EXPRESS: Final = "Express"
ES_MERGE: Final = 2
_CACHED: Final = 4096


@frozen(kw_only=True)
class ShareRow:
    """A row of GLOBAL_SHARES; ``value`` is a weight among the children of ``parent`` (None: of the root)."""

    name: str
    value: float
    parent: str | None = None
    prodsourcelabel: str | None = None
    workinggroup: str | None = None
    processingtype: str | None = None
    rtype: str | None = None


@frozen(kw_only=True)
class ResourceTypeRow:
    """A row of RESOURCE_TYPES; MB per core, None bounds are open."""

    name: str
    min_core: int | None = None
    max_core: int | None = None
    min_ram_per_core: int | None = None
    max_ram_per_core: int | None = None


@frozen(kw_only=True)
class Share:
    """A node of the tree. ``fraction`` is its part of its siblings' sum, ``pledge`` its part of everything."""

    name: str
    fraction: float
    pledge: float
    children: tuple[Share, ...] = ()
    patterns: tuple[re.Pattern[str] | None, ...] = ()


_Attributes = tuple[str | None, str | None, str | None, str | None]


@define
class ShareTree:
    """The shares as ``tree_of`` made them; ``faults`` names rows that cannot be used."""

    roots: tuple[Share, ...] = ()
    faults: tuple[str, ...] = ()
    leaves: tuple[Share, ...] = field(init=False)
    _known: dict[_Attributes, str] = Factory(dict)

    def __attrs_post_init__(self) -> None:
        self.leaves = tuple(_leaves(self.roots))

    def share_of(
        self,
        label: str | None,
        working_group: str | None,
        processing_type: str | None,
        resource_type: str | None,
        event_service: int | None = None,
    ) -> str:
        """The share of a job: the first leaf, depth first, whose patterns all match at the start of the values.

        ``resource_type`` is the queue's. A job of no leaf is ``Undefined``; event-service merging is ``Express``.
        """
        if event_service == ES_MERGE:
            return EXPRESS
        values = (label, working_group, processing_type, resource_type)
        known = self._known.get(values)
        if known is None:
            known = next((leaf.name for leaf in self.leaves if _matches(leaf.patterns, values)), UNDEFINED)
            if len(self._known) >= _CACHED:  # the values come from users
                self._known.clear()
            self._known[values] = known
        return known

    def ranks(self, use: Mapping[str, float]) -> dict[str, int]:
        """The rank of each leaf, lowest served first, from the use of leaves in any one unit.

        Siblings go by use against pledge; those without a pledge come last, a leaf named Test has rank 0. A share
        that is not among the leaves has no rank and comes after all.
        """
        order = _leaves(_by_need(self.roots, use))
        return {leaf.name: 0 if leaf.name == "Test" else place for place, leaf in enumerate(order, start=1)}


def tree_of(rows: Iterable[ShareRow]) -> ShareTree:
    """The tree of GLOBAL_SHARES: values normalised among siblings, in the order of the rows."""
    by_parent: dict[str | None, list[ShareRow]] = {}
    names: dict[str, ShareRow] = {}
    for row in rows:
        by_parent.setdefault(row.parent or None, []).append(row)
        names[row.name] = row
    faults: list[str] = []
    reached: set[str] = set()
    roots = _children(None, 1.0, by_parent, faults, reached)
    faults += [f"share {name}: its parents do not lead to the root" for name in names if name not in reached]
    return ShareTree(roots, tuple(faults))


def resource_type_of(min_ram: int, core_count: int | None, rows: Sequence[ResourceTypeRow]) -> str:
    """The first resource type that holds a job of this memory (MB) and number of cores: none means 1, zero 8."""
    cores = 1 if core_count is None else core_count or 8
    ram = round(min_ram / cores)
    for row in rows:
        if _within(cores, row.min_core, row.max_core) and _within(ram, row.min_ram_per_core, row.max_ram_per_core):
            return row.name
    return UNDEFINED


def _within(value: int, low: int | None, high: int | None) -> bool:
    return (low is None or low <= value) and (high is None or value <= high)


def _children(
    parent: str | None, pledge: float, rows: Mapping[str | None, list[ShareRow]], faults: list[str], reached: set[str]
) -> tuple[Share, ...]:
    siblings = rows.get(parent, ())
    whole = sum(max(row.value, 0) for row in siblings)
    found = []
    for row in siblings:
        reached.add(row.name)
        fraction = max(row.value, 0) / whole if whole else 0.0
        part = pledge * fraction
        found.append(
            Share(
                name=row.name,
                fraction=fraction,
                pledge=part,
                children=_children(row.name, part, rows, faults, reached),
                patterns=_patterns(row, faults),
            )
        )
    return tuple(found)


def _patterns(row: ShareRow, faults: list[str]) -> tuple[re.Pattern[str] | None, ...]:
    """One per attribute of a job, None for any; a pattern that cannot be compiled matches nothing."""
    found: list[re.Pattern[str] | None] = []
    for pattern in (row.prodsourcelabel, row.workinggroup, row.processingtype, row.rtype):
        try:
            found.append(None if pattern is None else re.compile(pattern))
        except re.error as error:
            faults.append(f"share {row.name}: {pattern!r} is no regular expression: {error}")
            found.append(re.compile(r"(?!)"))
    return tuple(found)


def _matches(patterns: tuple[re.Pattern[str] | None, ...], values: _Attributes) -> bool:
    pairs = zip(patterns, values, strict=True)
    return all(pattern is None or pattern.match(value or "") is not None for pattern, value in pairs)


def _leaves(shares: Iterable[Share]) -> Iterable[Share]:
    for share in shares:
        if share.children:
            yield from _leaves(share.children)
        else:
            yield share


def _used(share: Share, use: Mapping[str, float]) -> float:
    return sum(use.get(leaf.name, 0.0) for leaf in _leaves((share,)))


def _by_need(shares: tuple[Share, ...], use: Mapping[str, float]) -> Iterable[Share]:
    """Siblings in the order of need, and below each its children in theirs."""

    def need(share: Share) -> tuple[bool, float]:
        return (share.pledge <= 0, _used(share, use) / share.pledge if share.pledge > 0 else 0.0)

    for share in sorted(shares, key=need):
        children = tuple(_by_need(share.children, use))
        yield Share(name=share.name, fraction=share.fraction, pledge=share.pledge, children=children)
