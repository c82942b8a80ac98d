"""The ``pandatx`` command. Each subcommand is a file of its own, imported when it is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from pandatx.errors import PandaError, StartFault

COMMANDS = {
    "init": ("pandatx.cli.init:init", "Write a folder with all that a server needs."),
    "proxy": ("pandatx.cli.proxy:proxy", "Make a proxy of a certificate."),
    "config": ("pandatx.cli.config:config", "Check and explain the configuration."),
    "db": ("pandatx.cli.db:db", "Check or update the schema of the database."),
    "job": ("pandatx.cli.job:job", "Submit, show, list and kill jobs."),
    "why": ("pandatx.cli.why:why", "Say why a job is where it is."),
    "daemon": ("pandatx.cli.daemon:daemon", "List, run, pause and resume daemons."),
    "owner": ("pandatx.cli.owner:owner", "Show, release and share the names of owners."),
    "api": ("pandatx.cli.api:api", "List and explain the operations of the API."),
    "dataset": ("pandatx.cli.dataset:dataset", "Say that the files of a dataset are there."),
}
"""Name to module:attribute of the click command, and its line in --help."""


class Commands(click.Group):
    """The group of COMMANDS. A refusal is one line on stderr and exit 1, a StartFault its own exit code (R36, R39)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StartFault as fault:
            click.echo(f"pandatx: {fault}", err=True)
            ctx.exit(fault.exit_code)
        except PandaError as refusal:
            click.echo(f"pandatx: {refusal}", err=True)
            ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with the client.json that init wrote; else $PANDATX_HOME, else this folder.",
)
@click.version_option(package_name="pandatx", prog_name="pandatx")
@click.pass_context
def main(ctx: click.Context, home: Path | None) -> None:
    """The PanDA server's command line."""
    ctx.obj = home
