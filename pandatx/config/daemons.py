"""The ``config`` key of [daemon]: a faulty entry stops only itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from attrs import evolve

from pandatx.config.sections import DaemonEntry, DaemonSettings, LeftOut

LONGEST_NAME: Final = 100
LONGEST_SYNC_NAME: Final = 49
"""Characters that the lock row, which older servers read too, has room for."""
LONGEST_TIME: Final = 10**9
Seconds = TypeVar("Seconds", int, float)
_ATTRIBUTES: Final = {"enable", "period", "module", "arguments", "sync", "loop", "timeout"}


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
            faults.append(LeftOut(name=_shown(name), why=str(error)))
            continue
        if unknown := sorted(set(values) - _ATTRIBUTES):
            warnings.append(f"daemon {name}: {', '.join(unknown)} is not known; nothing reads it")
    read = evolve(settings, entries=tuple(entries), disabled=tuple(disabled), faults=tuple(faults))
    return read, tuple(warnings)


def _entry(name: str, values: object) -> DaemonEntry:
    if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"its name is empty, not printable, or longer than {LONGEST_NAME} characters")
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
    sync = _yes_no(values, "sync")
    if sync and len(name) > LONGEST_SYNC_NAME:
        raise ValueError(f"it is sync, and such a name has at most {LONGEST_SYNC_NAME} characters")
    return DaemonEntry(
        name=name,
        module=module,
        period=period,
        timeout=_seconds(values, "timeout") if "timeout" in values else default_timeout(period),
        sync=sync,
        loop=_yes_no(values, "loop"),
        arguments=tuple(arguments),
    )


def default_timeout(period: Seconds) -> Seconds:
    """The limit of a run where none is given (the PanDA daemon guide's)."""
    return min(3 * period, period + 3600)


def _shown(name: str) -> str:
    """A name as logs and tables can hold it, also where it is not fit for a daemon."""
    return (name if name.isprintable() else ascii(name)[1:-1])[:LONGEST_NAME] or "(no name)"


def _seconds(values: Mapping[str, Any], name: str) -> int:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LONGEST_TIME:
        raise ValueError(f"{name} is not a whole number of seconds above 0")
    return value


def _yes_no(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name, False)
    if value not in (True, False):
        raise ValueError(f"{name} is neither true nor false")
    return bool(value)
