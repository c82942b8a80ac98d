"""Writes docs/api/openapi.json and docs/api.md from the declarations and the tests; ``make api`` runs it.

It refuses to write a document that takes something from clients without a line in CHANGES.md that names the operation.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pandatx.cli.api import described_api, whole
from pandatx.resources.docs_page import Shown, shown
from pandatx.resources.openapi import PERMISSIONS
from pandatx.resources.openapi_changes import Lost, lost

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "api" / "openapi.json"
TABLE = ROOT / "docs" / "api.md"
CHANGES = ROOT / "CHANGES.md"
ELSEWHERE = frozenset(("test_every_operation.py", "test_api_document.py", "test_schemathesis.py"))
"""Tests of all operations at once: they are no operation's own."""
MOST_TESTS = 3
HEAD = """\
# The API, method by method

Made by `make api` from the declarations in `pandatx/resources/` and from the tests; do not edit it. What each
method takes and gives: `/docs` and `/openapi.json` of a running server, `pandatx api NAME`, or `docs/api/openapi.json`.

Each method is `/api/v1/GROUP/METHOD` (REST) and, where it has an older name, `/server/panda/NAME`. The permission of
the older name stands behind a stroke where it is another one. Every method is also held to its declaration by
`tests/wire/test_every_operation.py` (bad input) and `tests/wire/test_schemathesis.py`.

| Permission | Who may call |
|---|---|
"""


def unannounced(gone: Iterable[Lost], changes: str) -> list[Lost]:
    """What is taken from clients without a word in CHANGES.md."""
    return [each for each in gone if not re.search(rf"(?<![\w/]){re.escape(each.operation)}(?!\w)", changes)]


def naming(operation: Shown, sources: Mapping[str, str]) -> list[str]:
    """The test files that name an operation in one of its dialects: those of the wire first, whoever names it most."""
    names = "|".join(re.escape(name) for name in operation.legacy)
    legacy = rf"""|(?:["'/])(?:{names})["'/?\s]""" if names else ""
    pattern = re.compile(rf"(?<![\w-]){re.escape(operation.path)}(?![\w]){legacy}")
    words = (operation.path, *operation.legacy)
    _, _, method = operation.path.partition("/")

    def times(text: str) -> int:
        whole = len(pattern.findall(text)) if any(word in text for word in words) else 0
        return whole + (text.count(f'"{method}"') if f"{operation.group}/{{" in text else 0)

    found = {name: n for name, text in sources.items() if (n := times(text))}
    return sorted(found, key=lambda name: ("wire/" not in name, "resources/" not in name, -found[name], name))


def sources() -> dict[str, str]:
    tests = ROOT / "tests"
    return {
        str(path.relative_to(tests)): path.read_text()
        for path in sorted(tests.rglob("test_*.py"))
        if path.name not in ELSEWHERE
    }


def method_table(document: Mapping[str, Any]) -> str:
    """docs/api.md."""
    return HEAD + "".join(_lines(document, sources()))


def _lines(document: Mapping[str, Any], texts: Mapping[str, str]) -> Iterator[str]:
    for name, meaning in PERMISSIONS.items():
        yield f"| {name} | {meaning} |\n"
    group = ""
    for each in shown(document):
        if each.group != group:
            group = each.group
            yield f"\n## {group}\n\n| Method | Verb | Older name | Permission | Test |\n|---|---|---|---|---|\n"
        permission = each.permission
        if each.legacy and each.permission_legacy != permission:
            permission += f" / {each.permission_legacy}"
        tests = ", ".join(f"`{name}`" for name in naming(each, texts)[:MOST_TESTS])
        older = ", ".join(f"`{name}`" for name in each.legacy)
        yield f"| `{each.path.partition('/')[2]}` | {each.verbs} | {older} | {permission} | {tests} |\n"


def main() -> int:
    """Write both; 1 where something would be lost without a word."""
    document = described_api()
    if DOCUMENT.exists():
        missing = unannounced(lost(json.loads(DOCUMENT.read_text()), document), CHANGES.read_text())
        for each in missing:
            sys.stderr.write(f"CHANGES.md has no line on {each}\n")
        if missing:
            return 1
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(whole(document))
    TABLE.write_text(method_table(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
