"""What becomes of jobs once a setupper has spoken."""

import pytest

from pandatx.domain.job import Job, JobFile
from pandatx.domain.setup import BadAnswer, Change, End, plan_of, told

INPUT = JobFile(row_id=7, panda_id=1, lfn="in", type="input")
OUTPUT = JobFile(row_id=8, panda_id=1, lfn="out", type="output")


def say(**values) -> dict:
    return {"jobs": [{"panda_id": 1, **values}], "datasets": []}


def test_a_job_without_inputs_is_activated_though_the_answer_passes_it_over():
    assert plan_of([Job(panda_id=1, files=(OUTPUT,))], {"jobs": []}).activate == (1,)


@pytest.mark.parametrize("status", ["ready", "cached"])
def test_inputs_that_are_there_let_a_job_go_even_with_a_block(status):
    job = Job(panda_id=1, dispatch_dblock="dis", files=(INPUT,))
    assert plan_of([job], say(files=[{"row_id": 7, "status": status}])).activate == (1,)


def test_a_job_waits_for_the_block_of_the_plugin_else_its_own_else_its_files():
    own = Job(panda_id=1, dispatch_dblock="own", files=(INPUT,))
    library = Job(panda_id=1, files=(JobFile(row_id=7, lfn="in", type="input", dispatch_dblock="lib"),))
    assert plan_of([own], say(dispatch_dblock="new")).changes == (
        Change(panda_id=1, job_status="assigned", dispatch_dblock="new"),
    )
    assert plan_of([own], say()).changes == (Change(panda_id=1, job_status="assigned", dispatch_dblock="own"),)
    assert plan_of([library], say()).changes == (Change(panda_id=1, job_status="assigned", dispatch_dblock="lib"),)


def test_a_job_that_waits_for_nothing_known_stays_as_it_is():
    assert plan_of([Job(panda_id=1, files=(INPUT,))], say()).changes == (Change(panda_id=1),)


def test_an_ended_job_keeps_the_reason_within_its_column():
    plan = plan_of([Job(panda_id=1)], say(status="failed", error="x" * 1000))
    assert plan.ends == (End(panda_id=1, job_status="failed", diag="x" * 700),)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"jobs": [{}]},
        {"jobs": 5},
        say(status="running"),
        say(files=[{"row_id": 99, "status": "ready"}]),
        say(files=[{"row_id": 7, "panda_id": 2}]),
        say(files=["x"]),
        {"jobs": [], "datasets": [{"type": "output"}]},
    ],
)
def test_an_answer_that_does_not_follow_the_interface_is_refused(answer):
    with pytest.raises(BadAnswer):
        plan_of([Job(panda_id=1, files=(INPUT,))], answer)


def test_plugins_see_every_attribute_but_the_long_texts():
    values = told(Job(panda_id=1, job_parameters="x", metadata="y", files=(INPUT,)))
    assert values["dispatch_dblock"] is None
    assert values["files"][0]["guid"] is None
    assert not {"job_parameters", "metadata"} & values.keys()
