"""The priority that a job starts with (reference/lifecycle.md 1.9)."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from pandatx.domain.job import Job

KEPT_FROM: Final = 1500
_TEST_OFFSETS: Final = {"gangarobot": 3000, "hammercloud-fax": 1001}
_PRIVILEGED_OFFSET: Final = 2000


@frozen(kw_only=True)
class Standing:
    """What the user's or working group's other work says about new jobs.

    ``serial`` is the number of their jobs now in the system, ``weight`` comes from the quota check, ``boost`` from
    the table of boosted users and groups (None: not in it).
    """

    serial: int = 0
    weight: float = 0.0
    offset: int = 0
    boost: int | None = None


def standing(
    processing_type: str | None,
    *,
    in_system: int = 0,
    weight: float = 0.0,
    privileged_group: bool = False,
    boost: int | None = None,
) -> Standing:
    """Test robots and privileged working groups (gridpref ``g``) have an offset, and no account of their other work."""
    offset = _TEST_OFFSETS.get(processing_type or "")
    if offset is None and privileged_group:
        offset = _PRIVILEGED_OFFSET
    if offset is not None:
        return Standing(offset=offset, boost=boost)
    return Standing(serial=in_system, weight=weight, boost=boost)


def current_priority(job: Job, user: Standing, index: int) -> int:
    """The priority of the ``index``-th job of a submission; of ``job`` the assigned priority and the kinds are read."""
    return priority_of(
        job.prod_source_label,
        job.prod_user_name,
        job.processing_type,
        frozenset((job.special_handling or "").split(",")),
        job.assigned_priority,
        user,
        index,
    )


def priority_of(
    label: str | None,
    user_name: str | None,
    processing_type: str | None,
    tags: frozenset[str],
    assigned: int,
    user: Standing,
    index: int,
) -> int:
    """``current_priority`` of plain values, for a job that is not yet a record."""
    if label == "install":
        return 4100
    if user_name == "artprod" and label in ("user", "panda"):
        return 7000
    if label == "panda":
        return 6500 if "express" in tags else 2000 + user.offset
    if label != "user":
        return assigned
    if processing_type == "pmerge" and assigned:
        return assigned
    scout = "sj" in tags
    if user.boost is not None:
        return user.boost + (1 if scout else 0)
    if scout or assigned >= KEPT_FROM:
        return assigned
    if "express" in tags:
        return 6000
    return int(1000 + user.offset - (user.serial + index) / 5 - int(100 * user.weight))
