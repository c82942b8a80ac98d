"""Figures as people read them."""

from __future__ import annotations

import statistics
from typing import Any

from rich.console import Console
from rich.table import Table


def median(operation: str, facts: dict[str, Any], rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The round whose rate is the middle one, with all the others beside it."""
    ordered = sorted(rounds, key=lambda one: float(one["rate"]))
    middle = ordered[(len(ordered) - 1) // 2]
    rates = [one["rate"] for one in rounds]
    spread = {"rates": rates, "median_rate": statistics.median(rates)}
    failed = any(one["errors"] for one in rounds)
    return {"operation": operation, **facts, **middle, **spread, "rounds": rounds, "failed": failed}


def show(result: dict[str, Any]) -> None:
    console = Console()
    if result["operation"] == "handshake":
        rates = result["connections_per_second"]
        console.print(f"fresh connections/s over {result['tls']}: {rates['ours']:g}, s_server {rates['s_server']:g}")
        console.print(f"[bold]{result['percent_of_s_server']:g} % of openssl s_server[/bold]")
        for side, rounds in result["rounds"].items():
            console.print(f"  {side}: " + ", ".join(f"{one['rate']:g}/s {one['errors'] or ''}" for one in rounds))
        return
    table = Table(title=f"{result['operation']} at {result['url']}", title_justify="left")
    for name in ("request", "number", "rate/s", "p50 ms", "p99 ms", "max ms"):
        table.add_column(name, justify="left" if name == "request" else "right")
    for label, one in result["by_label"].items():
        cells = (one.get(key, 0.0) for key in ("requests", "rate", "p50_ms", "p99_ms", "max_ms"))
        table.add_row(label, *(f"{cell:,g}" for cell in cells))
    console.print(table)
    cpu, cores = result["cpu_us_per_request"], result["cores_used"]
    console.print("CPU: " + ", ".join(f"{who} {cpu[who]:g} us/request ({cores[who]:g} cores)" for who in cpu))
    if len(result["rates"]) > 1:
        console.print(f"rounds: {result['rates']}, median {result['median_rate']:g}/s")
    for key in ("jobs_activated_per_second", "last_activated_after_s", "last_finished_after_s", "sent_in_tables"):
        if key in result:
            console.print(f"{key.replace('_', ' ')}: {result[key]:,g}")
    if "ended_left" in result:
        console.print(
            f"archiver: {result['moved']:,} jobs moved in {result['moving_s']:g} s, {result['ended_left']:,} left, "
            f"{result['archived_twice']} twice, {result['without_files']} without their files, "
            f"{result['without_parameters']} without parameters"
        )
    if "upload" in result:
        console.print(
            "upload: " + ", ".join(f"{name} {value}" for name, value in result["upload"].items()), markup=False
        )
    if result["counts"]:
        console.print(f"counts: {result['counts']}", markup=False)
    console.print(f"errors: {result['errors'] or 'none'}", markup=False, style="bold red" if result["errors"] else None)
