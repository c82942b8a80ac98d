"""``pandatx dataset``: what the server is told of datasets."""

from __future__ import annotations

from pathlib import Path

import click

from pandatx.cli.client import client_of


@click.group()
def dataset() -> None:
    """Say that the files of a dataset are there."""


@dataset.command()
@click.argument("name")
@click.pass_obj
def complete(home: Path | None, name: str) -> None:
    """Say that all files of the dataset NAME are there, and print how many jobs went on because of it."""
    click.echo(client_of(home).post("pandatx/complete_dataset", name=name))
