"""The ``config`` key of [daemon]: a faulty entry stops only itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from pandatx.config.sections import DaemonEntry, DaemonSettings, LeftOut

_ATTRIBUTES = {"enable", "period", "module", "arguments", "sync", "loop", "timeout"}


def with_entries(settings: DaemonSettings) -> tuple[DaemonSettings, tuple[str, ...]]:
    """The settings with the entries of their document read, and warnings about what in these is not known."""
    entries, disabled, faults, warnings = [], [], [], []
    for name, values in settings.document.items():
        if isinstance(values, dict) and values.get("enable") is False:
            disabled.append(name)
            continue
        try:
            entries.append(_entry(name, values))
        except ValueError as error:
            faults.append(LeftOut(name=name, why=str(error)))
            continue
        if unknown := sorted(set(values) - _ATTRIBUTES):
            warnings.append(f"daemon {name}: {', '.join(unknown)} is not known; nothing reads it")
    read = evolve(settings, entries=tuple(entries), disabled=tuple(disabled), faults=tuple(faults))
    return read, tuple(warnings)


def _entry(name: str, values: object) -> DaemonEntry:
    if not isinstance(values, Mapping):
        raise ValueError("its entry is not a JSON object")
    if "period" not in values:
        raise ValueError("it has no period")
    period = _seconds(values, "period")
    module = values.get("module", name)
    if not isinstance(module, str) or not module:
        raise ValueError("module is not a text")
    arguments = values.get("arguments", [])
    if not isinstance(arguments, list):
        raise ValueError("arguments is not a list")
    return DaemonEntry(
        name=name,
        module=module,
        period=period,
        timeout=_seconds(values, "timeout") if "timeout" in values else min(3 * period, period + 3600),
        sync=_yes_no(values, "sync"),
        loop=_yes_no(values, "loop"),
        arguments=tuple(arguments),
    )


def _seconds(values: Mapping[str, Any], name: str) -> int:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError(f"{name} is not a whole number of seconds above 0")
    return value


def _yes_no(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name, False)
    if value not in (True, False):
        raise ValueError(f"{name} is neither true nor false")
    return bool(value)
