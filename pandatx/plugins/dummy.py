"""Plugins for deployments without data management: nothing is registered anywhere."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from pandatx.plugins.interface import (
    AddItem,
    AddResult,
    DatasetAnswer,
    DatasetItem,
    JobValues,
    Settings,
    SetUpJob,
    SetupResult,
    ThereAnswer,
    ThereItem,
    add_result,
    all_done,
    those_there,
)


class Setupper:
    """Gives log files a GUID; every job can be activated."""

    def setup(self, jobs: list[JobValues], settings: Settings) -> SetupResult:
        return {"jobs": [ready(job) for job in jobs], "datasets": []}

    def close_datasets(self, items: list[DatasetItem], settings: Settings) -> list[DatasetAnswer]:
        return all_done(items)

    def delete_datasets(self, items: list[DatasetItem], settings: Settings) -> list[DatasetAnswer]:
        return all_done(items)

    def inputs_there(self, items: list[ThereItem], settings: Settings) -> list[ThereAnswer]:
        """It makes no job wait for files: one that waits does so for what it cannot know of."""
        return those_there(items, lambda file: False)


class Adder:
    """Takes every report as it is."""

    def add(self, items: list[AddItem], settings: Settings) -> list[AddResult]:
        return [add_result(item["job"]["panda_id"]) for item in items]

    def outputs_there(self, items: list[ThereItem], settings: Settings) -> list[ThereAnswer]:
        """What is reported is there."""
        return those_there(items, lambda file: True)


def ready(job: JobValues) -> SetUpJob:
    """A job that waits for nothing: as it is, but for the GUIDs of its log files."""
    files: list[dict[str, Any]] = [
        {"row_id": file["row_id"], "guid": str(uuid4())}
        for file in job["files"]
        if file["type"] == "log" and not file["guid"]
    ]
    dispatch_dblock = job["dispatch_dblock"]
    return {
        "panda_id": job["panda_id"],
        "status": None,
        "dispatch_dblock": dispatch_dblock,
        "error": None,
        "files": files,
    }
