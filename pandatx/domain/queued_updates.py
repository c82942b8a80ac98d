"""Counter updates that an older server has left in SQL_QUEUE: what their texts mean (reference/lifecycle.md 3.1).

Only the statements that those servers write are understood; nothing that stands in a table is run as SQL.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import orjson
from attrs import Factory, define

TOPIC: Final = "async_dataset_update"
_COLUMNS: Final = frozenset(
    (
        *("nfilesused", "nfilesfinished", "nfilesfailed", "nfilesonhold", "nfilestobeused", "nfileswaiting"),
        *("nevents", "neventsused"),
    )
)
_OF_DATASET: Final = r"WHERE jediTaskID\s*=\s*:jediTaskID\s+AND\s+datasetID\s*=\s*:datasetID"
_LOCK: Final = re.compile(rf"SELECT [\w, ]+ FROM [\w.]*JEDI_Datasets {_OF_DATASET} FOR UPDATE( NOWAIT)?", re.I)
_COUNT: Final = re.compile(rf"UPDATE [\w.]*JEDI_Datasets SET ([\w=+,\- ]+?) {_OF_DATASET}", re.I)
_QUEUED: Final = re.compile(
    r"UPDATE [\w.]*JEDI_Tasks SET queuedTime\s*=\s*CURRENT_DATE WHERE jediTaskID\s*=\s*:jediTaskID"
    r" AND queuedTime IS NULL",
    re.I,
)
_STEP: Final = re.compile(r"(\w+)=(\w+)([+-])(\d{1,12})")


class StrangeUpdate(ValueError):
    """A statement that no server of ours would have queued."""


@define(eq=False)
class QueuedUpdates:
    """What queued statements add up to: counters by task and dataset, and tasks that begin to wait."""

    datasets: dict[tuple[int, int], Counter[str]] = Factory(dict)
    queued: set[int] = Factory(set)

    def add(self, other: QueuedUpdates) -> None:
        for key, counter in other.datasets.items():
            mine = self.datasets.setdefault(key, Counter())
            for name, n in counter.items():
                mine[name] += n
        self.queued |= other.queued


def read(texts: Iterable[str]) -> QueuedUpdates:
    """The statements of one job, in their order. Raises StrangeUpdate, with the text, when one is not understood."""
    found = QueuedUpdates()
    for text in texts:
        try:
            sql, values = orjson.loads(text)
            _understand(found, " ".join(sql.split()), {name.lower(): value for name, value in values.items()})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StrangeUpdate(text[:300]) from error
    return found


def _understand(found: QueuedUpdates, sql: str, values: dict[str, Any]) -> None:
    if _LOCK.fullmatch(sql):
        return
    task_id = int(values[":jeditaskid"])
    if _QUEUED.fullmatch(sql):
        found.queued.add(task_id)
        return
    counts = _COUNT.fullmatch(sql)
    if counts is None:
        raise StrangeUpdate(sql)
    counter = found.datasets.setdefault((task_id, int(values[":datasetid"])), Counter())
    for step in counts[1].replace(" ", "").split(","):
        name, n = _step(step)
        counter[name] += n


def _step(text: str) -> tuple[str, int]:
    step = _STEP.fullmatch(text)
    if step is None or step[1].lower() != step[2].lower() or step[1].lower() not in _COLUMNS:
        raise StrangeUpdate(text)
    return step[1].lower(), int(step[4]) if step[3] == "+" else -int(step[4])
