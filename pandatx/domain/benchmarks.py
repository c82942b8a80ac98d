"""HS23 scores of CPUs, as HEPiX publishes them in a table of comma separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from pandatx.domain.dumps import UnreadableDump
from pandatx.domain.nodes import normal_cpu_model

_COLUMNS: Final = ("CPU", "SMT enabled", "Ncores", "Site", "Score/Ncores", "last_date")
_YES: Final = ("1", "true", "yes", "on")
_WIDTH: Final = 128


@frozen(kw_only=True)
class Score:
    """A score per core, of a CPU at a site. ``model`` is spelled as that of worker nodes is, to find it by."""

    cpu: str
    model: str
    smt: int
    sockets: int | None
    cores_per_socket: int | None
    cores: int
    site: str
    score: float
    at: datetime


def scores(content: bytes) -> list[Score]:
    """The rows that are whole. Raises UnreadableDump for what is no such table."""
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), restval="")
        lacking = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
        if lacking:
            raise UnreadableDump(f"the table of scores lacks the columns {', '.join(lacking)}")
        return [score for row in rows if (score := _score(row)) is not None]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableDump(f"the table of scores is not one: {error}") from error


def _score(row: Mapping[str, str]) -> Score | None:
    cpu, cores, score = row["CPU"].strip()[:_WIDTH], _whole(row["Ncores"]), _number(row["Score/Ncores"])
    try:
        at = datetime.strptime(row["last_date"].strip(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    if not cpu.isprintable() or not cpu or cores is None or score is None:
        return None
    site = row["Site"].strip()
    return Score(
        cpu=cpu,
        model=normal_cpu_model(cpu),
        smt=int(row["SMT enabled"].strip().lower() in _YES),
        sockets=_whole(row.get("# Sockets", "")),
        cores_per_socket=_whole(row.get("Cores/Socket", "")),
        cores=cores,
        site=site[:_WIDTH] if site.isprintable() else "",
        score=score,
        at=at,
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < 1e7 else None


def _whole(text: str) -> int | None:
    value = _number(text)
    return round(value) if value is not None and value < 2**15 else None
