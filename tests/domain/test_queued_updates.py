"""What older servers queue for their tasks' counters (reference/lifecycle.md 3.1, 7.12)."""

import json

import pytest

from pandatx.domain.queued_updates import QueuedUpdates, StrangeUpdate, read

KEYS = {":jediTaskID": 7, ":datasetID": 8}
LOCK = (
    "SELECT nFilesUsed,nFilesFailed,nFilesTobeUsed,nFilesFinished,nFilesOnHold,type,masterID,status "
    "FROM ATLAS_PANDA.JEDI_Datasets WHERE jediTaskID=:jediTaskID AND datasetID=:datasetID FOR UPDATE NOWAIT "
)
COUNT = (
    "UPDATE ATLAS_PANDA.JEDI_Datasets SET nFilesUsed=nFilesUsed-1,nEventsUsed=nEventsUsed+10 "
    "WHERE jediTaskID=:jediTaskID AND datasetID=:datasetID "
)
WAIT = "UPDATE DOMA_PANDA.JEDI_Tasks SET queuedTime=CURRENT_DATE WHERE jediTaskID=:jediTaskID AND queuedTime IS NULL "


def text(sql: str, **values) -> str:
    return json.dumps((sql, {**KEYS, **values}))


def test_a_lock_changes_nothing_and_counters_add_up():
    found = read([text(LOCK), text(COUNT), text(LOCK), text(COUNT)])
    assert {key: dict(counter) for key, counter in found.datasets.items()} == {
        (7, 8): {"nfilesused": -2, "neventsused": 20}
    }
    assert found.queued == set()


def test_a_task_that_waits_again_is_named():
    assert read([json.dumps((WAIT, {":jediTaskID": 7}))]).queued == {7}


def test_the_updates_of_jobs_add_up():
    total = QueuedUpdates()
    for _ in range(3):
        total.add(read([text(COUNT), text(WAIT)]))
    assert total.datasets[(7, 8)]["nfilesused"] == -3
    assert total.queued == {7}


@pytest.mark.parametrize(
    "strange",
    [
        "not json",
        "{}",
        json.dumps([COUNT]),
        json.dumps((COUNT, {":jediTaskID": 7})),
        json.dumps((COUNT, {":jediTaskID": "x", ":datasetID": 8})),
        text("DROP TABLE ATLAS_PANDA.JEDI_Datasets"),
        text(COUNT.replace("nFilesUsed=nFilesUsed-1", "nFilesUsed=nFilesFailed-1")),
        text(COUNT.replace("nFilesUsed=nFilesUsed-1", "status=status-1")),
        text(COUNT.replace("AND datasetID=:datasetID", "")),
        text(COUNT + "; DELETE FROM ATLAS_PANDA.JEDI_Datasets"),
        text("UPDATE ATLAS_PANDA.JEDI_Datasets SET nFilesUsed=0 WHERE jediTaskID=:jediTaskID AND datasetID=:datasetID"),
    ],
)
def test_what_no_server_writes_is_not_done(strange):
    with pytest.raises(StrangeUpdate):
        read([text(COUNT), strange])
