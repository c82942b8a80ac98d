"""``pandatx owner``: whose name is whose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pandatx.cli.client import client_of


@click.group()
def owner() -> None:
    """Show, release and share the names of owners of jobs and tasks."""


@owner.command()
@click.argument("name")
@click.pass_obj
def show(home: Path | None, name: str) -> None:
    """Print whom the name NAME belongs to, and since when."""
    _print(client_of(home).get("pandatx/show_owner", name=name))


@owner.command()
@click.argument("name")
@click.pass_obj
def release(home: Path | None, name: str) -> None:
    """Take the name NAME from its owner, whose certificate has a new DN: the next one who submits with it gets it."""
    _print(client_of(home).post("pandatx/release_owner", name=name))


@owner.command()
@click.argument("name")
@click.argument("subject")
@click.pass_obj
def admit(home: Path | None, name: str, subject: str) -> None:
    """Let SUBJECT, a DN or 'ISSUER SUBJECT' of a token, use the name NAME too: the same person's, to be sure."""
    _print(client_of(home).post("pandatx/admit_owner", name=name, subject=subject))


def _print(found: Mapping[str, Any]) -> None:
    click.echo(f"{found['name']}: {found['subject']} since {found['first_seen']} UTC")
    for each in found["also"]:
        click.echo(f"{found['name']}: {each} too")
