"""``pandatx config``: what is in force, where it came from, and what each key means."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from pandatx.config import Config, ConfigurationFaults, connections_of, load
from pandatx.config.reference import document, example
from pandatx.errors import EXIT_CONFIGURATION


@click.group()
def config() -> None:
    """Check and explain the configuration."""


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--max-connections", type=int, help="The database's max_connections, to hold the sum against.")
def check(file: Path | None, max_connections: int | None) -> None:
    """Print every value in force and where it came from; without FILE, of the usual places. Exit 3 on a fault."""
    try:
        read = load(file, os.environ)
    except ConfigurationFaults as faults:
        for fault in faults.faults:
            click.echo(f"fault: {fault}", err=True)
        sys.exit(EXIT_CONFIGURATION)
    for line in report(read, max_connections):
        click.echo(line)
    for line in notes(read):
        click.echo(line, err=True)


def report(read: Config, max_connections: int | None = None) -> list[str]:
    """The values in force by section, the daemons, and the sum of connections."""
    lines: list[str] = []
    sections: dict[str, list[str]] = {}
    for key, (value, where) in read.origins.items():
        section, name = key.split(" ") if " " in key else ("environment", key)
        sections.setdefault(section, []).append(f"  {name} = {value}    ({where})")
    for section, settings in sections.items():
        lines += [section, *settings]
    lines += ["daemons", *(f"  {line}" for line in _daemons(read))]
    lines.append(f"database connections: {_connections(read, max_connections)}")
    return lines


def notes(read: Config) -> list[str]:
    """What does no harm to the start and should be known all the same."""
    where = read.origins["[daemon] config"].where
    return [f"warning: {text}" for text in (*read.warnings, *(f"{where}: {fault}" for fault in read.daemon.faults))]


def _daemons(read: Config) -> list[str]:
    lines = [
        f"{entry.name}: every {entry.period} s, at most {entry.timeout} s, {entry.module}"
        + "".join(f", {word}" for word, on in (("sync", entry.sync), ("loop", entry.loop)) if on)
        for entry in read.daemon.entries
    ]
    return [*lines, *(f"{name}: disabled" for name in read.daemon.disabled)] or ["none but our own"]


def _connections(read: Config, max_connections: int | None) -> str:
    needed = connections_of(read)
    if max_connections is None:
        return f"{needed}; hold this, times the number of processes, against the database's max_connections"
    verdict = "too many" if needed.too_many_for(max_connections) else "enough"
    return f"{needed}; max_connections {max_connections}: {verdict}"


@config.command()
@click.argument("form", type=click.Choice(["panda_server.cfg", "panda_common.cfg", "configuration.md"]))
def explain(form: str) -> None:
    """Print every key with its default and meaning, as a file to start from or as a document."""
    click.echo(document() if form.endswith(".md") else example(form), nl=False)
