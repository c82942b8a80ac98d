"""How many jobs are where and in which status, as those who ask want it told apart (reference/wire.md 4, 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from pandatx.domain.shares import UNDEFINED, ShareTree

UNKNOWN: Final = "unknown"
ACTIVE: Final = ("assigned", "activated", "running")
"""Told of each place, also where there is no such job."""
WITH_ENDS: Final = (*ACTIVE, "finished", "failed")
TEST_LABELS: Final = frozenset(("ptest", "rc_test", "rc_test2", "rc_alrb"))
LABELS: Final[Mapping[str, frozenset[str]]] = {
    "production": frozenset(("managed",)) | TEST_LABELS,
    "analysis": frozenset(("user", "panda")),
}
_PASSED_OVER: Final = "merging"

Tree = dict[str, Any]


@frozen(kw_only=True)
class Count:
    """A number of jobs that have all this in common."""

    site: str | None
    status: str
    label: str | None
    resource_type: str | None
    share: str | None
    cloud: str | None
    processing_type: str | None
    n: int


def by_site(counts: Iterable[Count]) -> Tree:
    """{site: {status: n}} of jobs that have not ended."""
    return _counted(counts, _alive, lambda each: (each.site,), ACTIVE)


def by_site_type_and_label(counts: Iterable[Count]) -> Tree:
    """{site: {resource type: {label: {status: n}}}} of jobs that have not ended."""
    return _counted(
        counts, _alive, lambda each: (each.site, each.resource_type or UNDEFINED, each.label or UNDEFINED), ACTIVE
    )


def by_site_and_type(counts: Iterable[Count]) -> Tree:
    """{site: {resource type: {status: n}}}."""
    return _counted(counts, _anything, lambda each: (each.site, each.resource_type or UNDEFINED), WITH_ENDS)


def by_site_share_and_type(counts: Iterable[Count], label_of: Callable[[str | None], str]) -> Tree:
    """{site: {label of the share: {resource type: {status: n}}}}."""
    return _counted(
        counts,
        _anything,
        lambda each: (each.site, label_of(each.share), each.resource_type or UNDEFINED),
        WITH_ENDS,
    )


def by_cloud(counts: Iterable[Count], source: str, cloud_of: Callable[[Count], str]) -> Tree:
    """{cloud: {status: n}} of jobs of production or of analysis."""
    labels = LABELS[source]
    return _counted(counts, lambda each: each.label in labels, lambda each: (cloud_of(each),), ())


def by_cloud_and_processing(counts: Iterable[Count], cloud_of: Callable[[Count], str]) -> Tree:
    """{cloud: {processing type: {status: n}}} of jobs of production."""
    labels = LABELS["production"]
    return _counted(
        counts,
        lambda each: each.label in labels,
        lambda each: (cloud_of(each), each.processing_type or UNDEFINED),
        (),
    )


def labels_of_shares(tree: ShareTree) -> Mapping[str, str]:
    """The label that each leaf of the shares stands for: the first that its row names."""
    found = {}
    for leaf in tree.leaves:
        pattern = leaf.patterns[0] if leaf.patterns else None
        found[leaf.name] = UNKNOWN if pattern is None else pattern.pattern.split("|")[0].replace(".*", "")
    return found


def _alive(each: Count) -> bool:
    return each.status != _PASSED_OVER


def _anything(each: Count) -> bool:
    return True


def _counted(
    counts: Iterable[Count],
    wanted: Callable[[Count], bool],
    keys: Callable[[Count], tuple[str | None, ...]],
    always: tuple[str, ...],
) -> Tree:
    """Jobs that no place is known of are in no place's numbers."""
    found: Tree = {}
    for each in counts:
        path = keys(each)
        if path[0] is None or not wanted(each):
            continue
        place = found
        for key in path:
            place = place.setdefault(key or UNDEFINED, {})
        if not place:
            place.update(dict.fromkeys(always, 0))
        place[each.status] = place.get(each.status, 0) + each.n
    return found
