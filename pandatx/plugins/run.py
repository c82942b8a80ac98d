"""The child's side of plugins: entry points that the process pool calls, and the check that a class is a plugin."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any

from pandatx.plugins.interface import AddItem, AddResult, JobValues, Settings, SetupResult, add_result

_METHODS = {"setupper": "setup", "adder": "add"}


def setup(target: str, jobs: list[JobValues], settings: Settings) -> SetupResult:
    """Run the setupper "module:Class"."""
    result: SetupResult = make(target).setup(jobs, settings)
    return result


def add(target: str, items: list[AddItem], settings: Settings) -> list[AddResult]:
    """Run the adder "module:Class". What it raises over one job fails that job; the rest is asked one by one."""
    plugin = make(target)
    try:
        return _all_there(plugin.add(items, settings), items)
    except Exception as fault:
        if len(items) == 1:
            return [_failure(items[0], fault)]
    return [_add_one(plugin, item, settings) for item in items]


def fault_of(role: str, target: str) -> str | None:
    """Why "module:Class" cannot serve as a plugin of a role, setupper or adder; None if it can."""
    try:
        plugin = make(target)
    except Exception as fault:
        return f"{type(fault).__name__}: {fault}"
    method = _METHODS[role]
    return None if callable(getattr(plugin, method, None)) else f"it has no method {method}(jobs, settings)"


def make(target: str) -> Any:
    """An instance of "module:Class"."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)()


def _add_one(plugin: Any, item: AddItem, settings: Settings) -> AddResult:
    try:
        return _all_there(plugin.add([item], settings), [item])[0]
    except Exception as fault:
        return _failure(item, fault)


def _all_there(results: list[AddResult], items: list[AddItem]) -> list[AddResult]:
    if [result["panda_id"] for result in results] != [item["job"]["panda_id"] for item in items]:
        raise ValueError("the plugin did not answer for each job in order")
    return results


def _failure(item: AddItem, fault: Exception) -> AddResult:
    traceback.print_exception(fault)
    return add_result(item["job"]["panda_id"], "fatal", f"AdderPlugin failure: {type(fault).__name__}: {fault}")


if __name__ == "__main__":
    # The last line is the verdict; those before it are what the plugin's module prints.
    sys.stdout.write("\n" + " ".join((fault_of(sys.argv[1], sys.argv[2]) or "").split()))
