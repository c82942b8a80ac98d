"""The API document: what is committed is what is declared, and nothing is taken from clients without a word."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

import attrs
import pytest
from api_documents import CHANGES, DOCUMENT, TABLE, method_table, naming, sources, unannounced
from real import Real

from pandatx.cli.api import described_api
from pandatx.resources.api import Operation, Permission, collect, operation
from pandatx.resources.docs_page import shown
from pandatx.resources.openapi import PERMISSIONS
from pandatx.resources.openapi_changes import lost
from pandatx.serving import RESOURCES

OPERATIONS = collect(*RESOURCES).operations


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return described_api()


def test_nothing_is_taken_from_clients_without_a_line_in_the_changes(document: dict[str, Any]) -> None:
    gone = lost(json.loads(DOCUMENT.read_text()), document)
    assert [str(each) for each in unannounced(gone, CHANGES.read_text())] == []


def test_the_committed_document_is_what_is_declared(document: dict[str, Any]) -> None:
    assert json.loads(DOCUMENT.read_text()) == document, "run make api"


def test_the_committed_table_is_what_is_declared_and_tested(document: dict[str, Any]) -> None:
    """A test more or less is no reason to make the table again, but what it names must be there."""
    found, made = (
        [line.split(" | ") for line in text.splitlines()] for text in (TABLE.read_text(), method_table(document))
    )
    assert [row[:4] for row in found] == [row[:4] for row in made], "run make api"
    texts = sources()
    tests = {each.path: naming(each, texts) for each in shown(document)}
    group = ""
    for row in found:
        group = row[0][3:] if row[0].startswith("## ") else group
        if len(row) == 5 and row[0].startswith("| `"):
            named = set(re.findall(r"`([^`]+)`", row[4]))
            assert named and named <= set(tests[f"{group}/{row[0].strip('| `')}"]), row


def test_every_operation_is_named_by_a_test_of_its_own(document: dict[str, Any]) -> None:
    texts = sources()
    assert [each.path for each in shown(document) if not naming(each, texts)] == []


def test_both_dialects_of_every_operation_are_in_the_document(document: dict[str, Any]) -> None:
    wanted = {f"/api/v1/{each.path}" for each in OPERATIONS}
    wanted |= {f"/server/panda/{name}" for each in OPERATIONS for name in each.legacy}
    assert set(document["paths"]) == wanted
    for each in OPERATIONS:
        assert {verb.upper() for verb in document["paths"][f"/api/v1/{each.path}"]} == set(each.verbs)


def test_every_operation_is_described_in_words(document: dict[str, Any]) -> None:
    for path, verbs in document["paths"].items():
        for each in verbs.values():
            assert len(each["summary"]) > 10, path
            assert each["x-panda-permission"] in PERMISSIONS, path


def test_every_reference_points_to_something(document: dict[str, Any]) -> None:
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))):
        found: Any = document
        for part in reference.split("/"):
            found = found[part]


def test_names_of_operations_are_unique(document: dict[str, Any]) -> None:
    names = [each["operationId"] for verbs in document["paths"].values() for each in verbs.values()]
    assert len(names) == len(set(names))


def test_an_operation_without_a_permission_cannot_be_declared() -> None:
    good = attrs.asdict(OPERATIONS[0], recurse=False)
    for name in ("allows", "allows_legacy"):
        for wrong in (None, "secure", lambda caller: None):
            with pytest.raises(TypeError):
                Operation(**{**good, name: wrong})
        with pytest.raises(TypeError):
            Operation(**{key: value for key, value in good.items() if key != name})
    with pytest.raises(TypeError):
        operation("group/method")  # type: ignore[call-arg]


def test_every_operation_that_is_served_has_a_permission() -> None:
    for each in OPERATIONS:
        assert isinstance(each.allows, Permission) and isinstance(each.allows_legacy, Permission)
        assert each.allows.name in PERMISSIONS and each.allows_legacy.name in PERMISSIONS


async def test_the_document_is_served_with_a_validator(shared_real: Real, document: dict[str, Any]) -> None:
    got = await shared_real.ask("GET", "/openapi.json")
    assert (got.status, got.header("content-type")) == (200, "application/json")
    assert got.json == document
    again = await shared_real.ask("GET", "/openapi.json", if_none_match=str(got.header("etag")))
    assert (again.status, again.body) == (304, b"")
    head = await shared_real.ask("HEAD", "/openapi.json")
    assert (head.status, head.body, head.header("etag")) == (200, b"", got.header("etag"))
    assert (await shared_real.ask("POST", "/openapi.json", b"{}")).status == 405


async def test_the_page_shows_every_operation_and_asks_no_other_host(shared_real: Real) -> None:
    got = await shared_real.ask("GET", "/docs")
    assert (got.status, got.header("content-type")) == (200, "text/html; charset=utf-8")
    policy = str(got.header("content-security-policy"))
    assert (
        policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy and "http" not in policy
    )
    for kind in ("style", "script"):
        inside = got.text.partition(f"<{kind}>")[2].partition(f"</{kind}>")[0]
        assert f"{kind}-src 'sha256-{b64encode(sha256(inside.encode()).digest()).decode()}'" in policy
    for each in OPERATIONS:
        assert f"<code>{each.path}</code>" in got.text
        for name in each.legacy:
            assert f"<code>/server/panda/{name}</code>" in got.text
    assert set(re.findall(r'(?:src|href)="([^"#]+)"', got.text)) == {"/openapi.json"}


def test_no_type_of_an_answer_is_open_by_accident(document: dict[str, Any]) -> None:
    """An open ``data`` is declared as Any; an operation that forgot to say what it gives says null."""
    for each in OPERATIONS:
        for verb in document["paths"][f"/api/v1/{each.path}"].values():
            content = verb["responses"]["200"]["content"]
            for kind, described in content.items():
                assert described["schema"], (each.path, kind)
