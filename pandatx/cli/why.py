"""``pandatx why``: why a job is where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from pandatx.cli.client import client_of
from pandatx.cli.tables import table


@click.command()
@click.argument("panda_id", type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="One JSON object with all that is known.")
@click.pass_obj
def why(home: Path | None, panda_id: int, as_json: bool) -> None:
    """Say why the job PANDA_ID is where it is.

    Of an activated job: each filter of dispatch, and the pilots that asked within the last hour. Of a waiting one: what
    it waits for. Of a failed one: its errors in words, and who set them. Times are UTC.
    """
    found = client_of(home).get("pandatx/why", job_id=panda_id)
    click.echo(json.dumps(found) if as_json else "".join(_lines(found)), nl=as_json)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    queue = f" at {found['queue']}" if found["queue"] else ""
    yield f"job {found['job_id']} is {found['status']}{queue} since {found['since']}\n"
    for reason in found["reasons"]:
        yield f"- {reason}\n"
    if found["filters"]:
        rows = [(each["name"], each["job_has"], str(each["kept_out"])) for each in found["filters"]]
        yield "\n" + table([("FILTER", "THE JOB", "REQUESTS KEPT OUT"), *rows])
    if found["pilots"]:
        head = ("PILOTS WANTED", "ASKED", "SERVED", "LAST", "WHY NOT THIS JOB")
        yield "\n" + table([head, *(_pilots(each) for each in found["pilots"])])


def _pilots(each: Mapping[str, Any]) -> tuple[str, ...]:
    return each["wanted"], str(each["asked"]), str(each["served"]), each["last"], "; ".join(each["why_not"])
