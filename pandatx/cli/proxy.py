"""``pandatx proxy``: an RFC 3820 proxy of a certificate."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from pandatx.cli.init import write_file
from pandatx.errors import EXIT_CERTIFICATE, StartFault
from pandatx.identity import authority


@click.command()
@click.argument("cert", type=click.Path(path_type=Path))
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), default=12.0, show_default=True)
@click.option("--limited", is_flag=True, help="A limited proxy: it may fetch jobs and report on them, nothing else.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to; else CERT's name with -proxy.")
def proxy(cert: Path, hours: float, limited: bool, out: Path | None) -> None:
    """Make a proxy of CERT, a file of certificate and key, and print the name of its file.

    The proxy ends with CERT at the latest. Its file serves as certificate, key and CA in one.
    """
    target = out or cert.with_name(f"{cert.stem}-proxy.pem")
    try:
        holder = authority.load(cert.read_bytes())
        made = authority.make_proxy(holder, datetime.now(UTC), hours=hours, limited=limited)
    except OSError as fault:
        raise StartFault(EXIT_CERTIFICATE, f"{cert} cannot be read: {fault.strerror}") from None
    except ValueError as fault:
        raise StartFault(EXIT_CERTIFICATE, f"{cert} cannot have a proxy: {fault}") from None
    try:
        write_file(target, made.pem(), 0o600)
    except OSError as fault:
        raise StartFault(EXIT_CERTIFICATE, f"{target} cannot be written: {fault.strerror}") from None
    click.echo(str(target))
