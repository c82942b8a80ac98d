"""``pandatx daemon``: what the daemons of all servers do, pausing them, and one run by hand."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pandatx.cli.client import client_of
from pandatx.cli.tables import table

_COLUMNS = ("NAME", "PERIOD", "LAST START", "LASTED", "NEXT", "STATE", "SERVER", "LOCK")


@click.group()
def daemon() -> None:
    """List, run, pause and resume daemons."""


@daemon.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with all that is known.")
@click.pass_obj
def list_(home: Path | None, as_json: bool) -> None:
    """List the daemons of all servers on the database. Times are UTC, durations seconds."""
    found = client_of(home).get("pandatx/list_daemons")
    if as_json:
        for each in found:
            click.echo(json.dumps(each))
    else:
        click.echo(table([_COLUMNS, *(_row(each) for each in found)]), nl=False)


@daemon.command()
@click.argument("name")
@click.pass_obj
def pause(home: Path | None, name: str) -> None:
    """Begin no more runs of the daemon NAME on any server, until it is resumed; one under way goes on."""
    client_of(home).post("pandatx/pause_daemon", name=name)


@daemon.command()
@click.argument("name")
@click.pass_obj
def resume(home: Path | None, name: str) -> None:
    """Let the paused daemon NAME run again, at its next time."""
    client_of(home).post("pandatx/resume_daemon", name=name)


@daemon.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--config", "path", type=click.Path(path_type=Path), help="panda_server.cfg; else --home's, else as usual."
)
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def run(home: Path | None, path: Path | None, name: str, arguments: tuple[str, ...]) -> None:
    """Run the daemon NAME once, now, in the foreground, with ARGUMENTS in place of those of its entry.

    All that stands behind NAME is the daemon's: --config goes before it.

    Works with and without a running server. Refused while the daemon runs on this machine, and for a sync daemon while
    another server has its lock. Exit 1 when the run fails.
    """
    from pandatx.foreground import run_once  # the whole server, which no other command of the line needs

    if path is None and home is not None:
        path = home / "panda_server.cfg"
    result = run_once(path, os.environ, name, arguments)
    for word, count in result.counts.items():
        click.echo(f"{word} {count}")
    if result.error is not None:
        click.echo(f"pandatx: daemon {name}: {result.error}", err=True)
        sys.exit(1)
    click.echo(f"pandatx: daemon {name}: done in {result.seconds:.1f} s", err=True)


def _row(each: Mapping[str, Any]) -> tuple[str, ...]:
    words = [word for word in ("late",) if each["late"]]
    if each["last_error"]:
        words.append(f"failed: {str(each['last_error']).splitlines()[0][:80]}")
    return (
        each["name"],
        f"{each['period']:g}",
        each["last_start"] or "never",
        "" if each["last_duration"] is None else f"{each['last_duration']:.1f}",
        each["next_start"] or "",
        ", ".join([each["condition"], *words]),
        each["server"],
        f"{each['lock_holder']} until {each['locked_until']}" if each["sync"] and each["lock_holder"] else "",
    )
