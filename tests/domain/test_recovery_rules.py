"""Which rows change when outputs of a task are lost."""

from attrs import evolve

from pandatx.domain.recovery import Content, may_retry, reset

IN = Content(
    dataset_id=1, file_id=1, lfn="in.1", type="input", status="finished", panda_id=10, out_panda_id=None,
    dataset="input", master=True,
)  # fmt: skip
SECONDARY = evolve(IN, dataset_id=2, file_id=5, lfn="db", dataset="secondary", master=False)
OUT = evolve(IN, dataset_id=3, file_id=7, lfn="out.1", type="output", out_panda_id=10, dataset="output", master=False)
LOG = evolve(OUT, dataset_id=4, file_id=8, lfn="out2.1", dataset="output2")


def keys(contents):
    return [each.key for each in contents]


def test_all_outputs_of_a_job_are_lost_together_and_its_inputs_are_read_again():
    found = reset([IN, SECONDARY, OUT, LOG], {10}, parents=False)
    assert keys(found.lost_outputs) == [(3, 7), (4, 8)]
    assert keys(found.ready_inputs) == [(1, 1), (2, 5)]
    assert found.lost_inputs == ()
    assert (dict(found.finished), dict(found.used)) == ({3: 1, 4: 1}, {1: 1, 2: 1})


def test_only_finished_files_change():
    rows = [evolve(each, status=status) for each, status in ((IN, "running"), (OUT, "lost"), (SECONDARY, "ready"))]
    found = reset(rows, {10}, parents=False)
    assert found.lost_outputs == found.ready_inputs == ()


def test_of_a_merge_job_the_inputs_of_what_it_merged_are_read_again():
    unmerged = evolve(OUT, dataset_id=5, file_id=9, lfn="unmerged.1", panda_id=20, out_panda_id=10)
    merged = evolve(OUT, panda_id=20, out_panda_id=20)
    found = reset([IN, unmerged, merged], {20}, parents=False)
    assert keys(found.ready_inputs) == [(1, 1)]
    assert (3, 7) in keys(found.lost_outputs)


def test_with_its_parents_the_inputs_of_the_master_are_lost_too():
    found = reset([IN, SECONDARY, OUT], {10}, parents=True)
    assert keys(found.lost_inputs) == [(1, 1)]
    assert keys(found.ready_inputs) == [(2, 5)]
    assert found.parents == {"input": ["in.1"]}
    assert dict(found.used) == {1: 1, 2: 1}


def test_a_pseudo_input_cannot_be_lost():
    found = reset([evolve(IN, type="pseudo_input"), OUT], {10}, parents=True)
    assert found.lost_inputs == ()
    assert keys(found.ready_inputs) == [(1, 1)]


def test_a_task_is_retried_from_the_statuses_that_the_command_is_taken_from():
    assert may_retry("finished", False)
    assert may_retry("failed", False)
    assert not may_retry("exhausted", False)
    assert may_retry("exhausted", True)
    assert not may_retry("running", True)
