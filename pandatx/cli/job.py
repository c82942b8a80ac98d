"""``pandatx job``: submit, show, list and kill jobs over the server's API."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
from cryptography import x509

from pandatx.cli.client import Place, client_of
from pandatx.cli.jobspecs import ShellJob, shell_jobs
from pandatx.cli.tables import detail, overview
from pandatx.errors import EXIT_USAGE, StartFault
from pandatx.identity.names import bare_dn, compact_name, slash_dn

MOST_JOBS = 5000
_ids = click.argument("ids", metavar="ID...", nargs=-1, required=True, type=click.IntRange(min=1))


@click.group()
def job() -> None:
    """Submit, show, list and kill jobs."""


@job.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--exec", "command", metavar="'COMMAND'", help="Shell command that each job runs.")
@click.option("--queue", help="Queue that the jobs go to.")
@click.option("--n", "count", type=click.IntRange(1, MOST_JOBS), default=1, show_default=True, help="How many jobs.")
@click.option("--output", "outputs", metavar="NAME", multiple=True, help="A file that the command makes; repeatable.")
@click.option("--label", default="user", show_default=True, help="prodSourceLabel: user, managed, test, ...")
@click.option("--priority", type=int, help="assignedPriority.")
@click.option("--memory", type=click.IntRange(min=0), metavar="MB", help="minRamCount.")
@click.option("--transformation", metavar="URL", help="The transform; else the server's runGen.")
@click.pass_context
def submit(ctx: click.Context, /, file: Path | None, command: str | None, **options: Any) -> None:
    """Submit jobs and print their PandaIDs, one a line.

    Either a shell command with --queue and --exec, or FILE (- for stdin): a JSON list of job definitions by field
    name, each with its files under "Files". All jobs are stored, or none.
    """
    if (file is None) == (command is None):
        raise click.UsageError("give either FILE or --exec")
    client = client_of(ctx.obj)
    if file is not None:
        _refuse_options(ctx)
        jobs = definitions(file)
    else:
        if not options["queue"]:
            raise click.UsageError("--exec needs --queue")
        if len(set(options["outputs"])) < len(options["outputs"]):
            raise click.UsageError("an --output is named twice")
        jobs = _of_command(client.place, str(command), options)
    for receipt in client.post("job/submit", jobs=jobs):
        click.echo(receipt[0])


def _refuse_options(ctx: click.Context) -> None:
    for name in ctx.params:
        source = ctx.get_parameter_source(name)
        if name not in ("file", "command") and source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("FILE says everything: no option goes with it")


def _of_command(place: Place, command: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    wanted = ShellJob(
        command=command,
        queue=options["queue"],
        label=options["label"],
        transformation=options["transformation"] or place.transformation,
        owner=_owner(place),
        stamp=f"{now:%Y%m%d%H%M%S}.{uuid4().hex[:8]}",
        outputs=options["outputs"],
        count=options["count"],
        priority=options["priority"],
        memory=options["memory"],
    )
    return shell_jobs(wanted, [str(uuid4()) for _ in range(wanted.count)])


def _owner(place: Place) -> str:
    """The name that the server will know us by; only for the names of datasets."""
    if place.certificate is None:
        return "unknown"
    try:
        cert = x509.load_pem_x509_certificate(place.certificate.read_bytes())
    except (OSError, ValueError) as fault:
        raise StartFault(EXIT_USAGE, f"{place.certificate} is no certificate: {fault}") from None
    return compact_name(bare_dn(slash_dn(cert)))


def definitions(file: Path) -> list[Any]:
    """The job definitions in ``file``: a list, an object with the list under "jobs", or a single job."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        found = json.loads(text)
    except (OSError, ValueError) as fault:
        raise StartFault(EXIT_USAGE, f"{file}: {fault}") from None
    if isinstance(found, dict):
        found = found.get("jobs", [found])
    if not isinstance(found, list) or not found:
        raise StartFault(EXIT_USAGE, f"{file}: no jobs in it")
    return found


@job.command()
@_ids
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, in the wire's spelling.")
@click.pass_obj
def show(home: Path | None, ids: tuple[int, ...], as_json: bool) -> None:
    """Show jobs with their files, archived ones too."""
    found = client_of(home).post("job/get_description_incl_archive", job_ids=list(ids))
    for each in filter(None, found):
        click.echo(json.dumps(each) if as_json else detail(each))
    _complain(f"no job {job_id}" for job_id, each in zip(ids, found, strict=True) if each is None)


@job.command()
@_ids
@click.pass_obj
def kill(home: Path | None, ids: tuple[int, ...]) -> None:
    """End jobs, and print the PandaIDs of those that are being ended."""
    done = client_of(home).post("job/kill", job_ids=list(ids))
    for job_id, ended in zip(ids, done, strict=True):
        if ended:
            click.echo(job_id)
    _complain(
        f"job {job_id} is not there any more, or not yours to kill"
        for job_id, ended in zip(ids, done, strict=True)
        if not ended
    )


@job.command("list")
@click.option("--status", help="Only jobs with this status.")
@click.option("--queue", help="Only jobs of this queue.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The newest so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, in the wire's spelling.")
@click.pass_obj
def list_jobs(home: Path | None, status: str | None, queue: str | None, limit: int, as_json: bool) -> None:
    """List jobs, the newest first: all of them with the production role, else one's own."""
    found = client_of(home).get("pandatx/list_jobs", status=status, queue=queue, limit=limit)
    if as_json:
        for each in found:
            click.echo(json.dumps(each))
    else:
        click.echo(overview(found), nl=False)


def _complain(lines: Iterable[str]) -> None:
    """Say what did not work; exit 1 if anything did not."""
    found = list(lines)
    for line in found:
        click.echo(f"pandatx: {line}", err=True)
    if found:
        sys.exit(1)
