"""Several submissions in one trip to a child, each still one call of its setupper (R18)."""

from __future__ import annotations

import traceback
from typing import Any

from pandatx.plugins.interface import JobValues, Settings
from pandatx.plugins.run import setup


def setup_each(target: str, submissions: list[tuple[list[JobValues], Settings]]) -> list[dict[str, Any]]:
    """Run the setupper "module:Class" for each submission: {"answer": ...}, or {"error": text} where it raised."""
    return [_one(target, jobs, settings) for jobs, settings in submissions]


def _one(target: str, jobs: list[JobValues], settings: Settings) -> dict[str, Any]:
    try:
        return {"answer": setup(target, jobs, settings)}
    except Exception as fault:
        traceback.print_exception(fault)
        return {"error": f"{type(fault).__name__}: {fault}"}
