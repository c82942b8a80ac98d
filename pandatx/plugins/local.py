"""Plugins for storages that are directories: blocks are rows of Datasets, files are looked for where they lie (R18)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pandatx.plugins import dummy
from pandatx.plugins.interface import (
    AddItem,
    AddResult,
    DatasetAnswer,
    DatasetItem,
    DatasetRow,
    JobValues,
    Registered,
    Settings,
    SetUpJob,
    SetupResult,
    ThereAnswer,
    ThereItem,
    add_result,
    all_done,
    chunks,
    destination,
    outputs,
    those_there,
)
from pandatx.plugins.storage import difference, find

_TO_MERGE = "TOMERGE"
_THERE = ("ready", "cached", "skipped")


class Setupper:
    """Makes destination blocks, sub blocks for labels managed and test, and dispatch blocks of missing inputs."""

    def setup(self, jobs: list[JobValues], settings: Settings) -> SetupResult:
        storage = settings.get("storage", {})
        results = {job["panda_id"]: dummy.ready(job) for job in jobs}
        datasets = _destinations(jobs)
        datasets += _sub_blocks(jobs, results, settings.get("serials", []))
        datasets += _inputs(jobs, results, storage)
        return {"jobs": list(results.values()), "datasets": datasets}

    def close_datasets(self, items: list[DatasetItem], settings: Settings) -> list[DatasetAnswer]:
        """A block is its row in Datasets and the files that name it: in the storage there is nothing to close."""
        return all_done(items)

    def delete_datasets(self, items: list[DatasetItem], settings: Settings) -> list[DatasetAnswer]:
        """Nothing but the row: the files of a dispatch block are not copies, those of a sub block are the dataset's."""
        return all_done(items)

    def inputs_there(self, items: list[ThereItem], settings: Settings) -> list[ThereAnswer]:
        """The files that lie in one of the storages, as large as they should be."""
        storage = settings.get("storage", {})
        return those_there(items, lambda file: _lies_in(storage, file, {"fsize": file["fsize"] or None}))


class Adder:
    """Compares size and adler32 of the files it can reach with what was reported."""

    def add(self, items: list[AddItem], settings: Settings) -> list[AddResult]:
        storage = settings.get("storage", {})
        return [_checked(item, storage) for item in items]

    def outputs_there(self, items: list[ThereItem], settings: Settings) -> list[ThereAnswer]:
        """The files that lie whole in their destination's storage, or in any where that is none of ours."""
        storage = settings.get("storage", {})
        return those_there(items, lambda file: _arrived(file, storage))


def _destinations(jobs: list[JobValues]) -> list[DatasetRow]:
    blocks = Counter(filter(None, (destination(file) for job in jobs for file in outputs(job))))
    return [_row(name, "output", number, "top") for name, number in blocks.items()]


def _sub_blocks(jobs: list[JobValues], results: dict[int, SetUpJob], serials: list[int]) -> list[DatasetRow]:
    """Give the outputs of each chunk of jobs a sub block; their dataset stays the whole."""
    wanted = chunks(jobs)
    if len(wanted) > len(serials):
        raise ValueError(f"{len(wanted)} serial numbers are needed for sub blocks, {len(serials)} were reserved")
    rows = []
    for (block, members), serial in zip(wanted, serials, strict=False):
        name, number = f"{block}_sub{serial:04d}", 0
        for job in members:
            for file in outputs(job):
                if destination(file) == block:
                    _change(results[job["panda_id"]], file, destination_dblock=name)
                    number += 1
        rows.append(_row(name, "output", number, "sub"))
    return rows


def _inputs(jobs: list[JobValues], results: dict[int, SetUpJob], storage: dict[str, str]) -> list[DatasetRow]:
    """Mark inputs that are in storage as ready; for the rest, a dispatch block per input block and queue.

    An input that has a dispatch block already, as the library of a build job has, is left to whoever fills that. A job
    waits in assigned for the first block that it misses, and is activated if there is none.
    """
    missing: dict[tuple[str, str], list[tuple[JobValues, dict[str, Any]]]] = {}
    for job in jobs:
        result = results[job["panda_id"]]
        inputs = [file for file in job["files"] if file["type"] == "input"]
        if inputs:
            result["dispatch_dblock"] = None
        for file in inputs:
            if file["status"] in _THERE:
                continue
            if find(storage, file["scope"], file["lfn"]):
                _change(result, file, status="ready")
            elif file["dispatch_dblock"]:
                result["dispatch_dblock"] = result["dispatch_dblock"] or file["dispatch_dblock"]
            else:
                block = file["prod_dblock"] or file["dataset"] or job["prod_dblock"] or "panda"
                missing.setdefault((block, job["computing_site"] or ""), []).append((job, file))
    rows = []
    for (block, _), wanted in missing.items():
        # Named after the first job: the same call again makes the same name.
        name = f"{block}_dis{min(job['panda_id'] for job, _ in wanted)}"
        for job, file in wanted:
            result = results[job["panda_id"]]
            result["dispatch_dblock"] = result["dispatch_dblock"] or name
            _change(result, file, dispatch_dblock=name)
        rows.append(_row(name, "dispatch", len(wanted), None))
    return rows


def _row(name: str, kind: Any, number: int, subtype: str | None) -> DatasetRow:
    return {"name": name, "type": kind, "status": "defined", "number_files": number, "subtype": subtype}


def _change(result: SetUpJob, file: dict[str, Any], **values: Any) -> None:
    for change in result["files"]:
        if change["row_id"] == file["row_id"]:
            change.update(values)
            return
    result["files"].append({"row_id": file["row_id"], **values})


def _arrived(file: dict[str, Any], storage: dict[str, str]) -> bool:
    goal = file["destination_se"]
    kind, _, value = (file["checksum"] or "").partition(":")
    known = {"fsize": file["fsize"] or None, "adler32": value if kind == "ad" else None}
    return _lies_in({goal: storage[goal]} if goal in storage else storage, file, known)


def _lies_in(storage: dict[str, str], file: dict[str, Any], known: dict[str, Any]) -> bool:
    path = find(storage, file["scope"], file["lfn"])
    return path is not None and difference(path, known) is None


def _checked(item: AddItem, storage: dict[str, str]) -> AddResult:
    """Of a failed job only the log counts."""
    job, failed = item["job"], item["status"] == "failed"
    result = add_result(job["panda_id"])
    registered: list[Registered] = []
    for file in outputs(job):
        reported = item["report"].get(file["lfn"])
        if reported is None or (failed and file["type"] != "log"):
            continue
        path = find(storage, file["scope"], file["lfn"], reported.get("endpoint") or file["destination_se"])
        if path is not None and (wrong := difference(path, reported)):
            return add_result(job["panda_id"], "fatal", f"{file['lfn']} {wrong}")
        if file["destination_dblock_token"] == _TO_MERGE and not failed:
            result["merging"].append(file["lfn"])
            continue
        blocks = list(dict.fromkeys(filter(None, (file["dataset"], file["destination_dblock"]))))
        registered.append({"lfn": file["lfn"], "blocks": blocks, "checked": path is not None})
    result["registered"] = registered
    return result
