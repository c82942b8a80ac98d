"""Asking plugins what becomes of datasets, and which files are where they should be (reference/lifecycle.md 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from attrs import Factory, define, frozen
from twisted.logger import Logger

from pandatx.domain.job import Job
from pandatx.domain.setup import told
from pandatx.store.dataset_manager import NOBODY, Owner
from pandatx.workers.pool import CallError

log = Logger()

CALL_LIMIT: Final = 300.0
"""Seconds for one call of a plugin."""
TOGETHER: Final = 50
"""Items in one call: adders and setuppers wait for the same children."""
LOCAL: Final = "local"
"""The VO of what stays at its site."""
_ASK: Final = "pandatx.plugins.questions:ask"


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
    _setupper: Callable[[str | None], str]
    _adder: Callable[[str | None, str | None], str]
    _settings: Mapping[str, Any]
    _lacking: set[tuple[str, str]] = Factory(set)

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
        asked: dict[str, list[str]] = {}
        for name in names:
            owner = owners.get(name, NOBODY)
            asked.setdefault(self._setupper(vo_of(owner.vo, owner.destination_se)), []).append(name)
        done = set()
        for target, some in asked.items():
            items: list[dict[str, Any]] = [{"name": name, "type": kind} for name in some]
            for item, answer in await self._ask(target, method, items, lambda item: str(item["name"])):
                if answer.get("done"):
                    done.add(item["name"])
                else:
                    _complain(target, method, item["name"], answer)
        return frozenset(done)

    async def _there(
        self, method: str, questions: Sequence[Question], target_of: Callable[[Job], str]
    ) -> dict[int, frozenset[int]]:
        asked: dict[str, list[dict[str, Any]]] = {}
        for each in questions:
            item: dict[str, Any] = {"job": told(each.job), "files": list(each.files), "how": each.how}
            asked.setdefault(target_of(each.job), []).append(item)
        found = {}
        for target, items in asked.items():
            for item, answer in await self._ask(target, method, items, lambda item: f"job {item['job']['panda_id']}"):
                panda_id, there = item["job"]["panda_id"], answer.get("there")
                if there is None:
                    _complain(target, method, f"job {panda_id}", answer)
                else:
                    found[panda_id] = frozenset(there) & frozenset(item["files"])
        return found

    async def _ask(
        self, target: str, method: str, items: Sequence[dict[str, Any]], name: Callable[[dict[str, Any]], str]
    ) -> list[tuple[dict[str, Any], Mapping[str, Any]]]:
        """Items with their answers, so many at a time; none where the plugin lacks the method or its child died."""
        answered: list[tuple[dict[str, Any], Mapping[str, Any]]] = []
        for start in range(0, len(items), TOGETHER):
            if (target, method) in self._lacking:
                break
            some = items[start : start + TOGETHER]
            try:
                answered += await self._ask_some(target, method, some, name(some[0]))
            except (CallError, LookupError, TypeError, ValueError) as fault:
                log.warn(
                    "{target} could not be asked for {method} of {first} and {n} more, it will be asked again: {fault}",
                    target=target,
                    method=method,
                    first=name(some[0]),
                    n=len(some) - 1,
                    fault=fault,
                )
        return answered

    async def _ask_some(
        self, target: str, method: str, items: Sequence[dict[str, Any]], first: str
    ) -> list[tuple[dict[str, Any], Mapping[str, Any]]]:
        said = await self._pool.call(
            _ASK, target, method, items, self._settings, timeout=CALL_LIMIT, context=f"{method} {first}"
        )
        if "lacks" in said:
            self._lacking.add((target, method))
            log.info("{target} has no {method}: for its VO datasetManager goes without", target=target, method=method)
            return []
        return [(item, dict(answer)) for item, answer in zip(items, said["answers"], strict=True)]


def vo_of(vo: str | None, destination_se: str | None) -> str:
    """The VO whose setupper has a job: one of its own for what stays at its site."""
    return LOCAL if destination_se == LOCAL else vo or ""


def _complain(target: str, method: str, what: str, answer: Mapping[str, Any]) -> None:
    if answer.get("error"):
        log.warn("{target}: {method} of {what}: {why}", target=target, method=method, what=what, why=answer["error"])
