"""How many workers a queue wants that is served by unified pilot streaming."""

import pytest

from pandatx.domain.pilot_streaming import Plan, Waiting, Workers, command, is_streamed
from pandatx.domain.queues import queue_of
from pandatx.domain.shares import ResourceTypeRow

TYPES = (
    ResourceTypeRow(name="SCORE", min_core=1, max_core=1, min_ram_per_core=0, max_ram_per_core=2000),
    ResourceTypeRow(name="MCORE", min_core=2, min_ram_per_core=0, max_ram_per_core=2000),
    ResourceTypeRow(name="SCORE_HIMEM", min_core=1, max_core=1, min_ram_per_core=2001),
    ResourceTypeRow(name="MCORE_HIMEM", min_core=2, min_ram_per_core=2001),
)
RANKS = {"First": 1, "Second": 2}


def queue(**document):
    described = {"status": "online", "capability": "ucore", "workflow": "pull_ups", "corecount": 8, "harvester": "h"}
    return queue_of("Q", described | {"maxrss": 16000} | document)


def workers(resource_type="SCORE", **by_status) -> list[Workers]:
    return [Workers(resource_type=resource_type, status=status, number=n) for status, n in by_status.items()]


def waiting(number, resource_type="SCORE", share="First", priority=1000) -> Waiting:
    return Waiting(share=share, priority=priority, resource_type=resource_type, number=number)


def new(workers, jobs, ignore=False, **document) -> dict[str, int]:
    return Plan(queue(**document), TYPES, RANKS, ignore).new_workers(workers, jobs)


def test_only_pulled_queues_of_all_resource_types_are_streamed():
    assert is_streamed(queue())
    assert not is_streamed(queue(workflow="push"))
    assert not is_streamed(queue(capability="score"))


def test_a_command_names_the_queue_and_one_job_type():
    told = command(queue(), {"SCORE": 3})
    assert (told.harvester, told.name) == ("h", "SET_N_WORKERS_JOBTYPE:Q")
    assert told.params == {"managed": {"SCORE": 3}}


def test_where_nothing_waits_one_worker_keeps_the_queue_awake():
    assert new(workers("MCORE", running=10, submitted=3), []) == {"SCORE": 1}


def test_no_more_workers_than_there_are_jobs_for_and_one_to_spare():
    assert new(workers(running=1), [waiting(5)]) == {"SCORE": 6}
    assert new(workers(running=1, submitted=2, ready=1), [waiting(5)]) == {"SCORE": 3}


def test_workers_enough_in_the_queue_are_enough():
    assert new(workers(submitted=5) + workers("MCORE", submitted=0), [waiting(5), waiting(3, "MCORE")]) == {
        "SCORE": 0,
        "MCORE": 4,
    }


@pytest.mark.parametrize(
    ("running", "submitted", "wanted"),
    [(0, 0, 601), (1500, 0, 601), (2000, 0, 801), (2000, 700, 100), (2000, 2000, 40)],
)
def test_it_fills_up_to_two_fifths_of_the_running_cores_and_at_least_seventy_five_workers(running, submitted, wanted):
    """The last one: five workers' cores in a round, however many wait in the batch queue already."""
    assert new(workers(running=running, submitted=submitted), [waiting(10_000)]) == {"SCORE": wanted}


def test_a_worker_of_many_cores_counts_for_all_of_them():
    assert new(workers("MCORE", running=10), [waiting(10_000, "MCORE")]) == {"MCORE": 76}


def test_the_share_with_the_lowest_rank_comes_first_and_a_share_without_a_rank_last():
    jobs = [waiting(600, "SCORE_HIMEM", "Nobody's"), waiting(600, "MCORE", "Second"), waiting(592, "SCORE", "First")]
    assert new(workers(running=0), jobs) == {"SCORE": 593, "MCORE": 2}


def test_the_highest_priority_comes_first_and_one_priority_is_dealt_out_in_proportion():
    jobs = [waiting(9000, priority=10), waiting(100, "SCORE_HIMEM", priority=20)]
    assert new(workers(running=0), jobs) == {"SCORE": 501, "SCORE_HIMEM": 101}
    jobs = [waiting(9000), waiting(3000, "SCORE_HIMEM")]
    assert new(workers(running=0), jobs) == {"SCORE": 451, "SCORE_HIMEM": 151}


def test_a_target_of_cores_presses_an_online_queue_and_not_one_in_test():
    pressed = {"params": {"ups_core_target": 10_000}}
    assert new(workers(running=0), [waiting(10_000)], **pressed) == {"SCORE": 4001}
    assert new(workers(running=0), [waiting(10_000)], status="test", **pressed) == {"SCORE": 601}


def test_a_resource_type_at_its_limit_gets_no_more():
    limited = {"uconfig": {"resource_type_limits": {"SCORE": 10}}}
    jobs = [waiting(5), waiting(5, "MCORE")]
    assert new(workers(running=10), jobs, **limited) == {"SCORE": 0, "MCORE": 6}
    assert new(workers(running=9), jobs, **limited) == {"SCORE": 6, "MCORE": 6}


def test_the_limit_of_high_memory_counts_cores_of_all_such_types():
    limited = {"uconfig": {"resource_type_limits": {"HIMEM": 17}}}
    jobs = [waiting(5), waiting(5, "SCORE_HIMEM")]
    running = workers("MCORE_HIMEM", running=2)
    assert new(running, jobs, **limited) == {"MCORE_HIMEM": 0, "SCORE": 6, "SCORE_HIMEM": 6}
    assert new(running + workers("SCORE_HIMEM", running=1), jobs, **limited) == {
        "MCORE_HIMEM": 0, "SCORE_HIMEM": 0, "SCORE": 6,
    }  # fmt: skip


def test_a_queue_over_its_mean_memory_gets_light_workers_only_unless_that_is_ignored():
    jobs = [waiting(5), waiting(5, "SCORE_HIMEM")]
    heavy = workers("SCORE_HIMEM", running=3) + workers(running=1)
    assert new(heavy, jobs, meanrss=2000, maxrss=24000) == {"SCORE_HIMEM": 0, "SCORE": 6}
    assert new(heavy, jobs, ignore=True, meanrss=2000, maxrss=24000) == {"SCORE_HIMEM": 6, "SCORE": 6}
    assert new(heavy, jobs, maxrss=24000) == {"SCORE_HIMEM": 6, "SCORE": 6}
    assert new(heavy, jobs, meanrss=2800, maxrss=24000) == {"SCORE_HIMEM": 6, "SCORE": 6}


def test_nonsense_in_a_description_is_passed_over():
    odd = {"uconfig": {"resource_type_limits": {"SCORE": "few"}}, "params": {"ups_core_target": "many"}}
    assert new(workers(running=1), [waiting(5)], **odd) == {"SCORE": 6}
    assert new(workers(running=1), [waiting(5)], uconfig=None, params=[]) == {"SCORE": 6}
