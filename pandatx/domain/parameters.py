"""Run-time parameters of table CONFIG (reference/lifecycle.md 5.9)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from attrs import Factory, frozen

T = TypeVar("T", int, float, str, bool)
_Key = tuple[str, str, str, str | None]


@frozen
class Parameters:
    """The rows, by (app, component, key, vo). Looked up by VO, or for no VO in any row (there is no row without one).

    A row whose value is not of the type that is asked for counts as absent.
    """

    _rows: Mapping[_Key, Any] = Factory(dict)

    def get(self, component: str, key: str, default: T, *, vo: str | None = None, app: str = "pandaserver") -> T:
        """The value, or ``default`` where there is none of its type."""
        value = self._rows.get((app, component, key, vo))
        kind = type(default)
        if kind is float and type(value) is int:
            return kind(value)
        return value if isinstance(value, kind) and type(value) is kind else default

    def value(self, component: str, key: str, *, vo: str | None = None, app: str = "pandaserver") -> Any:
        """The value of whichever type, None where there is none."""
        return self._rows.get((app, component, key, vo))

    def by_vo(self, component: str, key: str, *, app: str = "pandaserver") -> dict[str, float]:
        """The numbers that a key has for each VO (lifecycle.md 9, trap 51: none counts for another VO)."""
        return {
            vo: float(value)
            for (an_app, a_component, a_key, vo), value in self._rows.items()
            if (an_app, a_component, a_key) == (app, component, key) and vo is not None and type(value) in (int, float)
        }


def parameters_of(rows: Iterable[Mapping[str, Any]]) -> Parameters:
    """Read rows of CONFIG: app, component, key, vo, value, type, value_json."""
    found: dict[_Key, Any] = {}
    for row in rows:
        value = value_of(row["type"], row["value"], row["value_json"])
        if value is not None:
            key = row["app"], row["component"], row["key"]
            found[(*key, row["vo"])] = value
            found.setdefault((*key, None), value)
    return Parameters(found)


def value_of(kind: str, text: str, document: Any) -> Any:
    """The value of a row by its ``type``; None where value and type do not agree."""
    kind = kind.lower()
    try:
        if kind in ("int", "integer"):
            return int(text)
        if kind == "float":
            return float(text)
        if kind in ("bool", "boolean"):
            return text.strip().lower() == "true"
        if kind == "json":
            return json.loads(document) if isinstance(document, str) else document
    except ValueError:
        return None
    return text
