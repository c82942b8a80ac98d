"""What Harvesters are told of workers that they have wrong."""

from pandatx.domain.worker_synchronization import Stale, commands


def stale(harvester, status, *workers) -> list[Stale]:
    return [Stale(harvester=harvester, worker=worker, pilot_status=status) for worker in workers]


def test_a_pilot_that_started_activates_one_that_finished_kills():
    told = commands(stale("h", "started", 2, 1) + stale("h", "finished", 3) + stale("i", "started", 4))
    assert [(each.harvester, each.name, each.params) for each in told] == [
        ("h", "SYNC_WORKERS_ACTIVATE", [1, 2]),
        ("h", "SYNC_WORKERS_KILL", [3]),
        ("i", "SYNC_WORKERS_ACTIVATE", [4]),
    ]


def test_a_command_has_a_hundred_workers_at_most():
    assert [len(each.params) for each in commands(stale("h", "finished", *range(250)))] == [100, 100, 50]


def test_another_status_is_nothing_to_tell():
    assert commands(stale("h", "running", 1)) == []
