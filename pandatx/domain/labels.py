"""Which jobs a pilot may be given for the label that it asks for (reference/lifecycle.md 6.2)."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from pandatx.domain.queues import Queue

_MANAGED: Final = frozenset(("managed", "test", "prod_test", "install"))
_USER: Final = frozenset(("user", "panda", "install"))
_TABLE: Final[dict[str | None, frozenset[str]]] = {
    None: _MANAGED,
    "": _MANAGED,
    "managed": _MANAGED,
    "user": _USER,
    "unified": _MANAGED | _USER,
}
_TESTED: Final = frozenset(("user", "managed", "unified"))
_TESTS: Final = frozenset(("prod_test", "install", "test"))
_GANGA: Final = frozenset(("gangarobot",))


@frozen
class LabelFilter:
    """A job fits if its label is one of ``labels`` or its processing type one of ``processing_types``."""

    labels: frozenset[str]
    processing_types: frozenset[str] = frozenset()

    def fits(self, label: str | None, processing_type: str | None) -> bool:
        return label in self.labels or processing_type in self.processing_types


def asked_label(label: str | None, queue: Queue | None) -> str | None:
    """The label that counts: a queue in test gives tests to those that ask for user, managed or unified jobs."""
    return "test" if queue is not None and queue.in_test and label in _TESTED else label


def accepted(
    label: str | None, computing_element: str | None, job_type: str | None, queue: Queue | None
) -> LabelFilter:
    """What a pilot of ``queue`` may be given that asks with ``label``; every pilot sends its computing element."""
    label = asked_label(label, queue)
    if label == "test" and computing_element:
        if job_type == "user" and queue is not None and queue.grandly_unified:
            return LabelFilter(frozenset(), _GANGA)
        return LabelFilter(_TESTS, _GANGA)
    found = _TABLE.get(label)
    return LabelFilter(frozenset((label or "",)) if found is None else found)


def counts_sent(label: str | None) -> bool:
    """Whether an answer to this label carries the number of jobs just sent to the queue (nSent)."""
    return label in (None, "", "managed")
