"""What /metrics tells is counted somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pandatx
from pandatx import metrics


def test_every_metric_has_a_place_that_feeds_it() -> None:
    package = Path(pandatx.__file__).parent
    text = "".join(
        path.read_text() for path in package.rglob("*.py") if path.name != "metrics.py" or path.parent != package
    )
    names = [name for name in vars(metrics) if name.isupper() and not name.startswith("_")]
    assert len(names) > 20
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []
