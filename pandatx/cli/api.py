"""``pandatx api``: what is served, who may call it and what it asks; no server is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from pandatx.cli.tables import table
from pandatx.resources.api import collect
from pandatx.resources.docs_page import Shown, shown
from pandatx.resources.openapi import described_permission, document
from pandatx.resources.openapi_changes import lost
from pandatx.serving import RESOURCES

_COLUMNS = ("OPERATION", "VERB", "WHO", "OLDER NAMES", "WHAT")


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="The OpenAPI document; of NAME, its part of it.")
@click.option(
    "--since",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An older document: print what it promised and this server does not give. Exit 1 if there is something.",
)
def api(name: str | None, as_json: bool, since: Path | None) -> None:
    """List the operations, or show the one that is called NAME in either dialect."""
    described = described_api()
    if since is not None:
        gone = lost(json.loads(since.read_text()), described)
        for each in gone:
            click.echo(str(each))
        sys.exit(1 if gone else 0)
    if name is None:
        click.echo(whole(described) if as_json else _list(described), nl=False)
        return
    every = list(shown(described))
    found = next((each for each in every if name in (each.path, *each.legacy)), None)
    if found is None:
        meant = [each.path for each in every if each.path.endswith(f"/{name}")]
        hint = f"; did you mean {' or '.join(meant)}?" if meant else ""
        raise click.BadParameter(f"no operation is called {name}{hint}", param_hint="NAME")
    click.echo(_json(_paths(described, found)) if as_json else _detail(found), nl=False)


def described_api() -> dict[str, Any]:
    """The OpenAPI document of this release."""
    return document(collect(*RESOURCES), version("pandatx"))


def whole(described: Mapping[str, Any]) -> str:
    """The document as it is kept in docs/api/openapi.json."""
    return _json(described)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _list(described: Mapping[str, Any]) -> str:
    rows = [
        (each.path, each.verbs, each.permission, ", ".join(each.legacy), each.summary[:80]) for each in shown(described)
    ]
    return table([_COLUMNS, *rows])


def _paths(described: Mapping[str, Any], operation: Shown) -> dict[str, Any]:
    names = [f"/api/v1/{operation.path}", *(f"/server/panda/{name}" for name in operation.legacy)]
    return {name: described["paths"][name] for name in names}


def _detail(operation: Shown) -> str:
    return "\n".join(_lines(operation)) + "\n"


def _lines(operation: Shown) -> Iterator[str]:
    yield operation.summary
    yield ""
    yield f"{operation.verbs} /api/v1/{operation.path}"
    yield f"  {described_permission(operation.permission)}"
    for name in operation.legacy:
        yield f"/server/panda/{name}"
        yield f"  {described_permission(operation.permission_legacy)}"
    if operation.arguments:
        yield ""
        rows = [("ARGUMENT", "OLDER NAME", "TYPE", "")]
        rows += [
            (
                f"{each.name}{' *' if each.required else ''}",
                operation.legacy_names.get(each.name, ""),
                each.kind,
                each.notes,
            )
            for each in operation.arguments
        ]
        yield table(rows).rstrip("\n")
        yield "* must be there"
    yield ""
    yield f"data: {operation.answer}"
    if operation.legacy:
        yield f"older dialect: {operation.legacy_answer}"
