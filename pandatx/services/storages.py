"""Asking plugins what becomes of datasets, and which files are where they should be (reference/lifecycle.md 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from attrs import Factory, define, frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.job import Job
from pandatx.domain.setup import told
from pandatx.store.dataset_manager import NOBODY, Owner
from pandatx.workers.pool import CallError, CallTimedOut

log = Logger()

CALL_LIMIT: Final = 300.0
"""Seconds for one call of a plugin."""
TOGETHER: Final = 50
"""Items in one call: adders and setuppers wait for the same children."""
REST: Final = 600.0
"""Seconds for which a plugin is not asked again what it took too long for."""
LOCAL: Final = "local"
"""The VO of what stays at its site."""
_ASK: Final = "pandatx.plugins.questions:ask"
Item = dict[str, Any]


class Pool(Protocol):
    """workers.pool, as far as it is called here."""

    async def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Any: ...


@frozen(kw_only=True)
class Question:
    """A job and those of its files (row_id) that are asked for; ``how``: by file or by block (plugins/interface.py)."""

    job: Job
    files: tuple[int, ...]
    how: Literal["files", "blocks"]


@define(eq=False)
class Storages:
    """Questions to the plugins of the VOs; what a plugin cannot do or tell is left out of the answers."""

    _pool: Pool
    _clock: Clock
    _setupper: Callable[[str | None], str]
    _adder: Callable[[str | None, str | None], str]
    _settings: Mapping[str, Any]
    _lacking: set[tuple[str, str]] = Factory(set)
    _resting: dict[tuple[str, str], float] = Factory(dict)

    async def close(self, names: Sequence[str], owners: Mapping[str, Owner]) -> frozenset[str]:
        """Close output datasets and erase the empty ones; those with which that is done."""
        return await self._datasets("close_datasets", names, owners, "output")

    async def delete(
        self, names: Sequence[str], owners: Mapping[str, Owner], kind: Literal["dispatch", "output"]
    ) -> frozenset[str]:
        """Delete dispatch blocks or sub blocks; those with which that is done."""
        return await self._datasets("delete_datasets", names, owners, kind)

    async def inputs_there(self, questions: Sequence[Question]) -> dict[int, frozenset[int]]:
        """By PandaID the inputs that are at the job's queue; of a job that nobody can tell of, nothing."""
        return await self._there(
            "inputs_there", questions, lambda job: self._setupper(vo_of(job.vo, job.destination_se))
        )

    async def outputs_there(self, questions: Sequence[Question]) -> dict[int, frozenset[int]]:
        """By PandaID the outputs that have arrived, in the same way."""
        return await self._there("outputs_there", questions, lambda job: self._adder(job.vo, job.cloud))

    async def _datasets(
        self, method: str, names: Sequence[str], owners: Mapping[str, Owner], kind: str
    ) -> frozenset[str]:
        asked: dict[str, list[Item]] = {}
        for name in names:
            owner = owners.get(name, NOBODY)
            target = self._setupper(vo_of(owner.vo, owner.destination_se))
            asked.setdefault(target, []).append({"name": name, "type": kind})
        done = set()
        for target, items in asked.items():
            for item, answer in await self._ask(target, method, items):
                if answer.get("done") is True:
                    done.add(item["name"])
        return frozenset(done)

    async def _there(
        self, method: str, questions: Sequence[Question], target_of: Callable[[Job], str]
    ) -> dict[int, frozenset[int]]:
        asked: dict[str, list[Item]] = {}
        for each in questions:
            item: Item = {"job": told(each.job), "files": list(each.files), "how": each.how}
            asked.setdefault(target_of(each.job), []).append(item)
        found = {}
        for target, items in asked.items():
            for item, answer in await self._ask(target, method, items):
                if isinstance(there := answer.get("there"), list):
                    found[item["job"]["panda_id"]] = frozenset(row_id for row_id in item["files"] if row_id in there)
        return found

    async def _ask(self, target: str, method: str, items: Sequence[Item]) -> list[tuple[Item, Item]]:
        """Items with their answers, so many at a time; none where the plugin lacks the method or its child died.

        One that took too long is left alone for a while: others wait for the children, too.
        """
        answered: list[tuple[Item, Item]] = []
        for start in range(0, len(items), TOGETHER):
            if (target, method) in self._lacking or self._clock.seconds() < self._resting.get((target, method), 0.0):
                break
            some = items[start : start + TOGETHER]
            try:
                answered += await self._ask_some(target, method, some)
            except (CallError, LookupError, TypeError, ValueError) as fault:
                if isinstance(fault, CallTimedOut):
                    self._resting[target, method] = self._clock.seconds() + REST
                log.warn(
                    "{target} could not be asked for {method} of {first} and {n} more, it will be asked again: {fault}",
                    target=target,
                    method=method,
                    first=_name(some[0]),
                    n=len(some) - 1,
                    fault=fault,
                )
        return answered

    async def _ask_some(self, target: str, method: str, items: Sequence[Item]) -> list[tuple[Item, Item]]:
        context = f"{method} {_name(items[0])}"
        said = await self._pool.call(_ASK, target, method, items, self._settings, timeout=CALL_LIMIT, context=context)
        if "lacks" in said:
            self._lacking.add((target, method))
            log.info("{target} has no {method}: for its VO datasetManager goes without", target=target, method=method)
            return []
        answered = [(item, dict(answer)) for item, answer in zip(items, said["answers"], strict=True)]
        faults = [(item, answer["error"]) for item, answer in answered if answer.get("error")]
        if faults:
            item, why = faults[0]
            log.warn(
                "{target}: {method} of {what}, and of {n} more: {why}",
                target=target,
                method=method,
                what=_name(item),
                n=len(faults) - 1,
                why=why,
            )
        return answered


def vo_of(vo: str | None, destination_se: str | None) -> str:
    """The VO whose setupper has a job: one of its own for what stays at its site."""
    return LOCAL if destination_se == LOCAL else vo or ""


def _name(item: Item) -> str:
    return str(item["name"]) if "name" in item else f"job {item['job']['panda_id']}"
