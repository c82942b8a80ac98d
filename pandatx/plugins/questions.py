"""The child's side of what datasetManager asks plugins: methods that a plugin may have (interface.py)."""

from __future__ import annotations

import traceback
from typing import Any

from pandatx.plugins.interface import Settings
from pandatx.plugins.run import make

Items = list[dict[str, Any]]


def ask(target: str, method: str, items: Items, settings: Settings) -> dict[str, Any]:
    """The answers of "module:Class", one per item; no ``answers`` where it lacks the method.

    A fault over several items is looked for one by one: it is the answer of its item only.
    """
    plugin = make(target)
    if not callable(getattr(plugin, method, None)):
        return {"lacks": method}
    return {"answers": _all(plugin, method, items, settings)}


def _all(plugin: Any, method: str, items: Items, settings: Settings) -> Items:
    try:
        answers: Items = getattr(plugin, method)(items, settings)
        if len(answers) != len(items):
            raise ValueError(f"{len(answers)} answers to {len(items)} questions")
    except Exception as fault:
        if len(items) > 1:
            return [_all(plugin, method, [item], settings)[0] for item in items]
        traceback.print_exception(fault)
        return [{"error": f"{type(fault).__name__}: {fault}"}]
    return answers
