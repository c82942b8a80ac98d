"""The check of the promises sees each of them broken."""

from __future__ import annotations

import pytest
from load import Handed, Told, broken_promises
from server import Home

ALIVE = (
    "UPDATE jobsactive4 SET jobstatus = 'running'",
    """INSERT INTO jobs_statuslog (pandaid, jobstatus, modificationtime, modiftime_extended)
       SELECT pandaid, s.status, now(), now() + s.n * interval '1 s' FROM jobsactive4
        CROSS JOIN (VALUES (1, 'sent'), (2, 'running')) AS s(n, status)""",
)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("SELECT 1", ""),
        ("UPDATE jobsactive4 SET jobstatus = 'activated'", "was handed out and is"),
        ("DELETE FROM jobsactive4 WHERE pandaid = 2", "submitted job 2 is gone"),
        ("INSERT INTO jobsarchived4 SELECT * FROM jobsactive4 WHERE pandaid = 2", "job 2 is in"),
        ("DELETE FROM filestable4 WHERE pandaid = 2 AND type = 'log'", "job 2 has 1 files"),
        ("DELETE FROM jobs_statuslog WHERE jobstatus = 'running'", "job 1 was told running"),
        ("UPDATE jobsactive4 SET jobstatus = 'holding' WHERE pandaid = 1", "job 1 is holding, its log ends with"),
        ("UPDATE jobs_statuslog SET jobstatus = replace(jobstatus, 'sent', 'closed')", "went from closed to running"),
    ],
)
def test_a_broken_promise_is_seen(home: Home, fault: str, says: str) -> None:
    tables = home.tables()
    tables.activate(2)
    for statement in (*ALIVE, fault):
        tables.query(statement)
    told = Told()
    told.job(Handed(1, 0), "node")
    told.report(Handed(1, 0), "running")
    told.submission([2])
    found = broken_promises(told, tables)
    tables.close()
    assert (not found) if not says else any(says in text for text in found), found


def test_a_job_for_two_pilots_and_a_lost_report_are_seen(home: Home) -> None:
    tables = home.tables()
    tables.activate(1)
    for statement in ALIVE:
        tables.query(statement)
    told = Told()
    for node in ("a", "b"):
        told.job(Handed(1, 0), node)
    told.report(Handed(1, 0), "finished")
    found = broken_promises(told, tables)
    tables.close()
    assert "job 1 was handed out 2 times" in found
    assert "the report of job 1 is lost: it is running" in found
