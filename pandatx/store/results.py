"""What queries give: rows, with times that are aware UTC and plain numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg2.extensions
from attrs import frozen


@frozen
class Result:
    """What a query gave: rows as tuples in the order of ``columns``; ``count`` is the number of rows touched."""

    rows: list[tuple[Any, ...]]
    columns: tuple[str, ...]
    count: int

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def scalar(self) -> Any:
        """The first value of the first row, None where there is no row."""
        return self.rows[0][0] if self.rows else None

    def one(self) -> dict[str, Any] | None:
        """The first row, None where there is none."""
        return dict(zip(self.columns, self.rows[0], strict=True)) if self.rows else None

    def column(self, name: str) -> list[Any]:
        place = self.columns.index(name)
        return [row[place] for row in self.rows]


def _utc(value: Any, _cursor: Any) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value).replace(tzinfo=UTC)


def _number(value: Any, _cursor: Any) -> int | float | None:
    if value is None:
        return None
    return float(value) if "." in value else int(value)


TIMESTAMP = psycopg2.extensions.new_type((1114,), "UTC_TIMESTAMP", _utc)
NUMERIC = psycopg2.extensions.new_type((1700,), "PLAIN_NUMERIC", _number)
