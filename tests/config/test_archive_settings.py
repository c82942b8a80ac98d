"""What is archived, and how long rows are kept (rule R10)."""

from pathlib import Path

import pytest

from pandatx.config import Config, load
from pandatx.errors import StartFault


def loaded(path: Path, text: str) -> Config:
    file = path / "panda_server.cfg"
    file.write_text("[pandatx]\n" + text)
    return load(file, {"PANDA_SERVER_CONF_SERVERNAME": "here"})


def test_nothing_of_a_found_database_is_archived_and_every_row_is_kept_for_ever_unless_it_is_said(tmp_path):
    jobs = loaded(tmp_path, "").jobs
    assert (jobs.archive, jobs.archive_after, jobs.retention) == (False, 3, {})


def test_retention_is_days_by_table(tmp_path):
    jobs = loaded(
        tmp_path, 'archive = True\narchive_after = 30\nretention = {"jobs_statuslog": 90, "pandalog": 7}\n'
    ).jobs
    assert (jobs.archive, jobs.archive_after, jobs.retention) == (True, 30, {"jobs_statuslog": 90, "pandalog": 7})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('retention = {"jobsactive4": 1}', '"jobsactive4" is no table that rows are dropped from'),
        ('retention = {"pandalog": 0}', 'the days of "pandalog" are not a whole number from 1 on'),
        ('retention = {"pandalog": true}', 'the days of "pandalog" are not'),
        ('retention = {"pandalog": "7"}', 'the days of "pandalog" are not'),
        ("retention = 7", "not a JSON object"),
        ("archive_after = 0", "archive_after"),
    ],
)
def test_what_could_lose_rows_by_a_slip_is_refused(tmp_path, text, says):
    with pytest.raises(StartFault) as fault:
        loaded(tmp_path, text + "\n")
    assert says in str(fault.value)
