"""Which rows of JEDI change when outputs of a task are lost, so that jobs are made for them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from attrs import Factory, frozen

INPUTS: Final = frozenset(("input", "pseudo_input"))
FINISHED: Final = "finished"


@frozen(kw_only=True)
class Content:
    """A row of jedi_dataset_contents; ``master``: of the dataset that jobs are made from."""

    dataset_id: int
    file_id: int
    lfn: str
    type: str
    status: str
    panda_id: int | None
    out_panda_id: int | None
    dataset: str
    master: bool = False

    @property
    def key(self) -> tuple[int, int]:
        return self.dataset_id, self.file_id


@frozen(kw_only=True)
class Reset:
    """What changes: outputs that are lost, inputs to be read again, inputs that are lost too and have to come back."""

    lost_outputs: tuple[Content, ...] = ()
    ready_inputs: tuple[Content, ...] = ()
    lost_inputs: tuple[Content, ...] = ()

    @property
    def used(self) -> Counter[int]:
        """By how much the used and finished files of input datasets go down."""
        return Counter(each.dataset_id for each in (*self.ready_inputs, *self.lost_inputs))

    @property
    def finished(self) -> Counter[int]:
        """By how much the finished files of output datasets go down."""
        return Counter(each.dataset_id for each in self.lost_outputs)

    @property
    def parents(self) -> dict[str, list[str]]:
        """The lost inputs by dataset."""
        found: dict[str, list[str]] = {}
        for each in self.lost_inputs:
            found.setdefault(each.dataset, []).append(each.lfn)
        return found


def producers(contents: Iterable[Content], jobs: Collection[int]) -> set[int]:
    """The jobs whose inputs are read again: of a merge job those that made what it has merged."""
    return {
        each.out_panda_id
        for each in contents
        if each.panda_id in jobs and each.out_panda_id is not None and each.out_panda_id != each.panda_id
    }


def reset(contents: Sequence[Content], jobs: Collection[int], *, parents: bool) -> Reset:
    """What changes when the outputs of ``jobs`` are lost.

    A job's outputs are lost together. ``parents``: the inputs of the master dataset do not exist any more either.
    """
    before = producers(contents, jobs)
    outputs = [each for each in contents if each.type == "output" and each.status == FINISHED and each.panda_id in jobs]
    inputs = [
        each
        for each in contents
        if each.type in INPUTS
        and each.status == FINISHED
        and each.out_panda_id is None
        and (each.panda_id in jobs or each.panda_id in before)
    ]
    gone = [each for each in inputs if parents and each.master and each.type == "input"]
    keys = {each.key for each in gone}
    return Reset(
        lost_outputs=tuple(outputs),
        ready_inputs=tuple(each for each in inputs if each.key not in keys),
        lost_inputs=tuple(gone),
    )


@frozen(kw_only=True)
class Task:
    """Of a task, what decides whether it may be retried."""

    task_id: int
    owner: str
    status: str


def may_retry(status: str, production: bool) -> bool:
    """Whether the command is accepted by a task of this status (reference/lifecycle.md 7.2)."""
    return status in ("finished", "failed") or (status == "exhausted" and production)


@frozen(kw_only=True)
class Output:
    """A finished output of a task, and the storage that its job wrote it to."""

    dataset: str
    lfn: str
    scope: str | None
    rse: str | None


@frozen(kw_only=True)
class Recovery:
    """What is asked for, as it is stored."""

    requester: str
    production: bool = False
    task_id: int | None = None
    dataset: str | None = None
    files: tuple[str, ...] = ()
    dry_run: bool = False
    force: bool = False
    no_child_retry: bool = True
    resurrect_datasets: bool = False
    generations: int = 0
    log_file: str | None = None
    lines: list[str] = Factory(list)

    def say(self, line: str) -> None:
        """Note something for the requester."""
        self.lines.append(line)
