"""One round: warm up, measure a window, and look at the tables afterwards."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from attrs import define, frozen

from bench import bodies
from bench.bodies import JobForm
from bench.client import Answer, Ask, Loop, Script, Target
from bench.database import BEGINNING, Tables
from bench.ended import Moving
from bench.figures import Processes, Tally, difference, own_seconds, summary
from bench.operations import Plan, scripts, submitted, wrong
from bench.upload import Uploading


@frozen(kw_only=True)
class Run:
    """How long and how fast, and whom to watch."""

    operation: str
    seconds: float
    warmup: float
    rate: float
    getjob_rate: float
    server: Processes
    database: Processes
    tables: Tables | None
    moving: Moving | None = None
    uploading: Uploading | None = None


@define
class Mark:
    """What the counters said at one moment."""

    at: float
    server: dict[int, float]
    database: dict[int, float]
    own: float
    activated: int


@define(eq=False)
class Window:
    """The part of a run that counts: from the end of the warm-up on."""

    run: Run
    tally: Tally
    base: datetime
    start: Mark | None = None

    def tick(self, elapsed: float) -> None:
        if self.run.moving is not None:
            self.run.moving.tick(elapsed)
        if self.run.uploading is not None:
            self.run.uploading.tick(elapsed)
        if self.start is None and elapsed >= self.run.warmup:
            self.tally.clear()
            self.start = self.mark()

    def mark(self) -> Mark:
        run = self.run
        counts = run.tables is not None and run.operation in ("submit", "bulk")
        activated = run.tables.count(since=self.base) if counts and run.tables else 0
        return Mark(time.perf_counter(), run.server.seconds(), run.database.seconds(), own_seconds(), activated)


def measure(plan: Plan, run: Run) -> dict[str, Any]:
    """Drive ``plan`` and give the figures of its window."""
    base = run.tables.now() if run.tables else BEGINNING
    before = _ends(run)
    window = Window(run, plan.tally, base)
    loop = Loop(plan.target, plan.tally, run.rate, {"getjob": run.getjob_rate} if run.getjob_rate else {})
    if not run.warmup:
        window.tick(0.0)
    loop.run(scripts(run.operation, plan), run.warmup + run.seconds, window.tick)
    end = window.mark()
    if window.start is None:
        raise SystemExit("the run was shorter than its warm-up")
    figures = _figures(plan.tally, window.start, end)
    after = _afterwards(plan, run, window.start, end, base, before)
    if run.moving is not None:
        after |= run.moving.figures() | run.moving.tables.whole()
    if run.uploading is not None:
        late = run.uploading.under_way
        after |= run.uploading.figures()
        if late or "error" in after["upload"]:
            plan.tally.error("the upload outlasts the window" if late else "the upload failed")
    return {**figures, **after, "errors": dict(plan.tally.errors.most_common())}


def _figures(tally: Tally, start: Mark, end: Mark) -> dict[str, Any]:
    seconds = end.at - start.at
    requests = max(tally.requests, 1)
    cpu = {
        "server": difference(start.server, end.server),
        "database": difference(start.database, end.database),
        "bench": end.own - start.own,
    }
    return {
        "seconds": round(seconds, 2),
        "by_label": {label: summary(values, seconds) for label, values in tally.latencies.items()},
        "requests": tally.requests,
        "rate": round(tally.requests / seconds, 1),
        "errors": dict(tally.errors.most_common()),
        "counts": dict(tally.counts),
        "cpu_us_per_request": {who: round(spent / requests * 1e6, 1) for who, spent in cpu.items()},
        "cores_used": {who: round(spent / seconds, 2) for who, spent in cpu.items()},
    }


def _afterwards(plan: Plan, run: Run, start: Mark, end: Mark, base: datetime, before: int) -> dict[str, Any]:
    """What only the tables, or the answers of a later call, can say."""
    totals = plan.tally.totals
    if run.operation in ("submit", "bulk") and run.tables:
        rate = (end.activated - start.activated) / (end.at - start.at)
        waited = run.tables.wait_for(totals["submitted"], since=base, patience=60)
        return {"jobs_activated_per_second": round(rate, 1), "last_activated_after_s": round(waited, 2)}
    if run.operation == "lifecycle" and run.tables:
        wanted = before + totals["lifecycles"]
        waited = run.tables.wait_for(wanted, statuses=("finished",), archived=True, patience=120)
        return {"last_finished_after_s": round(waited, 2)}
    if run.operation == "getjob" and run.tables:
        changed = _ends(run) - before
        if changed < totals["jobs"]:  # more is right: answers that were under way when the run ended
            plan.tally.error(f"{totals['jobs']} jobs were handed out, {changed} are sent in the tables")
        return {"sent_in_tables": changed}
    return {}


def _ends(run: Run) -> int:
    """How many jobs stand where this operation takes them to."""
    if run.tables is None or run.operation not in ("getjob", "lifecycle"):
        return 0
    if run.operation == "getjob":
        return run.tables.count(statuses=("sent",))
    return run.tables.count(statuses=("finished",), archived=True)


def submit_one(target: Target, form: JobForm) -> None:
    """Put one job in through the API."""
    tally = Tally()
    answers: list[Answer] = []

    def script() -> Script:
        answers.append((yield Ask("submit", next(bodies.submissions(target, form, 1)))))

    loop = Loop(target, tally)
    loop.run([script()], 30.0)
    if not answers or not submitted(answers[0]):
        raise SystemExit(f"the job to be copied was not accepted: {wrong(answers[0]) if answers else 'no answer'}")
