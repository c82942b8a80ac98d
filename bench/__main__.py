"""``python -m bench OPERATION --url URL``: load a PanDA server and print what it made of it. See bench/README.md."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from bench import handshake, report
from bench.bodies import JobForm, PilotForm
from bench.client import Target
from bench.database import Tables
from bench.ended import EndedTables, Moving
from bench.figures import Processes, Tally, listener, postmaster_below
from bench.operations import OPERATIONS, Plan
from bench.run import Run, measure, submit_one
from bench.upload import Uploading


@frozen(kw_only=True)
class Options:
    """What was said on the command line."""

    operation: str
    url: str
    cert: str | None
    submit_cert: str | None
    ca: str | None
    connections: int
    seconds: float
    warmup: float
    keepalive: bool
    rate: float
    getjob_rate: float
    rounds: int
    dialect: str
    json: str | None
    dsn: str | None
    schema: str
    wipe: bool
    prepare: int
    prepare_running: int
    prepare_ended: int
    queue: tuple[str, ...]
    share: tuple[str, ...]
    label: str
    pilot_label: str | None
    memory: int
    pilot_memory: int
    expect_none: bool
    bulk: int
    server_pid: tuple[int, ...]
    database_pid: tuple[int, ...]
    host_cert: str | None
    host_key: str | None
    size: int


@click.command(context_settings={"show_default": True})
@click.argument("operation", type=click.Choice([*OPERATIONS, "handshake"]))
@click.option("--url", default="https://localhost:25443", help="Base URL of the server.")
@click.option("--cert", help="Client certificate, its chain and key in one PEM file: for pilots' calls a proxy.")
@click.option("--submit-cert", help="The certificate that submits the job which --prepare copies; default: --cert.")
@click.option("--ca", help="PEM file of the authority of the server's certificate; without it nothing is verified.")
@click.option("--connections", default=32, help="Connections, each with one request at a time.")
@click.option("--seconds", default=60.0, help="Length of the measurement.")
@click.option("--warmup", default=10.0, help="Seconds before it that do not count.")
@click.option("--keepalive/--no-keepalive", default=True, help="One connection for all requests, or one for each.")
@click.option(
    "--rate", default=0.0, help="Requests/s, evenly paced and counted from when they were due; 0: closed loop."
)
@click.option("--getjob-rate", default=0.0, help="pilots: getJob/s beside --rate heartbeats/s.")
@click.option("--rounds", default=1, help="Repeat, prepared anew each time; the median counts.")
@click.option("--dialect", type=click.Choice(["legacy", "v1"]), default="legacy", help="Of is_alive and getjob.")
@click.option("--json", help="Write the figures to this file too.")
@click.option("--dsn", help="The server's database, or state:DIR: for --prepare, and for what became of the jobs.")
@click.option("--schema", default="doma_panda", help="Where the job tables are.")
@click.option("--wipe", is_flag=True, help="Empty the job tables before each round. ALL JOBS ARE LOST.")
@click.option("--prepare", default=0, help="Jobs that wait when the round begins.")
@click.option("--prepare-running", default=0, help="Jobs that run when the round begins.")
@click.option("--prepare-ended", default=0, help="Finished jobs that come of the archiver's age meanwhile.")
@click.option("--queue", multiple=True, default=("LOCAL",), help="Queues, dealt out in turn; must exist.")
@click.option("--share", multiple=True, help="Global shares, dealt out in turn over the prepared jobs.")
@click.option("--label", default="user", help="prodSourceLabel of the jobs.")
@click.option("--pilot-label", help="prodSourceLabel that pilots ask for; default: --label.")
@click.option("--memory", default=2000, help="MB that a job needs.")
@click.option("--pilot-memory", default=16_000, help="MB that a pilot has.")
@click.option("--expect-none", is_flag=True, help="'no jobs' is the right answer: for what the worst case costs.")
@click.option("--bulk", default=1000, help="Jobs in one request of operation bulk.")
@click.option(
    "--server-pid", multiple=True, type=int, help="Processes of the server; default: who listens on the port."
)
@click.option("--database-pid", multiple=True, type=int, help="The postmaster; default: the one below the server.")
@click.option("--host-cert", help="handshake: the certificate that s_server shows, best the server's own.")
@click.option("--host-key", help="handshake: its key.")
@click.option("--size", default=768, help="upload: MiB of the sandbox that is sent while pilots ask for jobs.")
def main(**values: Any) -> None:
    """Load a PanDA server with OPERATION and print rate, p50, p99, errors and CPU per request."""
    options = Options(**values)
    result = _handshake(options) if options.operation == "handshake" else _rounds(options)
    report.show(result)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    if result.get("failed"):
        sys.exit(1)


def _target(options: Options, certificate: str | None) -> Target:
    return Target(
        url=options.url.rstrip("/"), certificate=certificate, authority=options.ca, keepalive=options.keepalive
    )


def _handshake(options: Options) -> dict[str, Any]:
    if not (options.host_cert and options.host_key and options.ca):
        raise click.UsageError("handshake needs --host-cert, --host-key and --ca")
    cert, key, ca = Path(options.host_cert), Path(options.host_key), Path(options.ca)
    rival = handshake.Rival(host_cert=cert, host_key=key, authority=ca)
    target = _target(options, options.cert)
    return handshake.compare(
        target, rival, connections=options.connections, seconds=options.seconds, rounds=max(options.rounds, 3)
    )


def _rounds(options: Options) -> dict[str, Any]:
    server, database = _processes(options)
    results = []
    for number in range(options.rounds):
        click.echo(f"round {number + 1} of {options.rounds}: {options.operation} at {options.url}", err=True)
        results.append(measure(_prepared(options), Run(
            operation=options.operation, seconds=options.seconds, warmup=options.warmup, rate=options.rate,
            getjob_rate=options.getjob_rate, server=server, database=database, tables=_tables(options),
            moving=_moving(options), uploading=_uploading(options, server),
        )))  # fmt: skip
    facts = {"url": options.url, "connections": options.connections, "keepalive": options.keepalive}
    facts |= {
        "seconds": options.seconds,
        "warmup": options.warmup,
        "rate": options.rate,
        "getjob_rate": options.getjob_rate,
    }
    facts |= {"cores": os.cpu_count()}
    facts |= {"prepared": options.prepare, "running": options.prepare_running, "queues": len(options.queue)}
    facts |= {"ended": options.prepare_ended} if options.prepare_ended else {}
    facts |= {"shares": len(options.share), "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    return report.median(options.operation, facts, results)


def _tables(options: Options) -> Tables | None:
    kind = EndedTables if options.prepare_ended else Tables
    return kind(_dsn(options.dsn), options.schema) if options.dsn else None


def _moving(options: Options) -> Moving | None:
    return Moving(EndedTables(_dsn(options.dsn), options.schema)) if options.prepare_ended and options.dsn else None


def _uploading(options: Options, server: Processes) -> Uploading | None:
    if options.operation != "upload":
        return None
    sender = _target(options, options.submit_cert or options.cert)
    return Uploading(sender, options.size, server.pids, max(options.warmup, 1.0))


def _dsn(text: str) -> str:
    """What libpq takes; ``state:DIR`` is the embedded database of the state directory DIR."""
    if not text.startswith("state:"):
        return text
    from pandatx.store.embedded import home_directory  # only here: bench is for any server
    from pandatx.store.home import SUPERUSER, open_home

    return open_home(home_directory(Path(text[6:]).resolve())).dsn(user=SUPERUSER)


def _processes(options: Options) -> tuple[Processes, Processes]:
    port = _target(options, None).address[1]
    servers = options.server_pid or tuple(filter(None, [listener(port)]))
    databases = options.database_pid or tuple(filter(None, map(postmaster_below, servers)))
    return Processes(servers, skip=databases), Processes(databases)


def _prepared(options: Options) -> Plan:
    """The plan of one round, with the rows that it needs in the database."""
    form = JobForm(queue=options.queue[0], label=options.label, memory=options.memory)
    running: range | tuple[int, ...] = ()
    wanted = options.prepare + options.prepare_running + options.prepare_ended
    if options.wipe or wanted:
        running = _fill(options, form)
    return Plan(
        target=_target(options, options.cert), tally=Tally(), dialect=options.dialect, connections=options.connections,
        queues=options.queue, form=form, running=running, bulk=options.bulk, expect_none=options.expect_none,
        pilot=PilotForm(label=options.pilot_label or options.label, memory=options.pilot_memory),
    )  # fmt: skip


def _fill(options: Options, form: JobForm) -> range:
    tables = _tables(options)
    if tables is None:
        raise click.UsageError("--prepare, --prepare-running and --wipe need --dsn")
    if options.wipe:
        tables.wipe()
    running = range(0)
    if options.prepare + options.prepare_running + options.prepare_ended:
        job = tables.first_job(form.queue)
        if job is None:
            submit_one(_target(options, options.submit_cert or options.cert), form)
            job = tables.wait_for_first_job(form.queue, patience=30)
        shares = options.share or (None,)
        if options.prepare:
            tables.copy_job(job, options.prepare, status="activated", queues=options.queue, shares=shares)
        if options.prepare_running:
            running = tables.copy_job(
                job, options.prepare_running, status="running", queues=options.queue, shares=shares
            )
        if options.prepare_ended:
            EndedTables(tables.dsn, tables.schema).copy_ended(job, options.prepare_ended)
        tables.settle()
    return running


if __name__ == "__main__":
    main()
