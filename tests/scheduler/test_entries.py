"""The operator's [daemon] section and our own daemons in one list (R42)."""

from __future__ import annotations

import pytest

from pandatx.config import DaemonSettings
from pandatx.config.daemons import with_entries
from pandatx.scheduler.catalogue import CATALOGUE
from pandatx.scheduler.entries import plan
from pandatx.workers.pool import PoolSettings, ProcessPool


class Code:
    async def run(self, context):
        return False


NATIVES = {name: Code() for name in ("add_main", "copyArchive", "share_statistics", "queue_loader")}


@pytest.fixture
def pool():
    return ProcessPool(None, PoolSettings())


def section(pool, document, **values):
    settings, _ = with_entries(DaemonSettings(document=document, **{"enable": True, **values}))
    return plan(settings, NATIVES, pool)


def named(made):
    return {daemon.name: daemon for daemon in made.daemons}


def test_without_a_section_only_our_own_daemons_run(pool):
    made = named(section(pool, {}, enable=False))
    assert set(made) == {"share_statistics", "queue_loader"}
    assert (made["share_statistics"].period, made["share_statistics"].sync) == (60, True)
    assert made["share_statistics"].timeout == 180


def test_a_section_that_is_not_enabled_runs_none_of_its_scripts(pool):
    assert "add_main" not in named(section(pool, {"add_main": {"period": 60}}, enable=False))


def test_a_script_of_the_guide_is_our_native_daemon_with_the_operators_times(pool):
    entry = {"period": 240, "loop": True, "timeout": 999, "arguments": ["5", 2]}
    daemon = named(section(pool, {"add_main": entry}))["add_main"]
    assert daemon.code is NATIVES["add_main"]
    assert (daemon.period, daemon.timeout, daemon.loop, daemon.sync) == (240, 999, True, False)
    assert (daemon.arguments, daemon.kill) == (("5", 2), None)


def test_a_native_daemon_is_found_by_its_module_too(pool):
    daemon = named(section(pool, {"watching": {"module": "copyArchive", "period": 60, "sync": True}}))["watching"]
    assert daemon.code is NATIVES["copyArchive"]


def test_a_script_of_the_guides_package_that_this_server_lacks_is_left_out_by_name_and_does_no_harm(pool):
    made = section(pool, {"a": {"module": "add_mian", "period": 60}, "add_main": {"period": 60}})
    assert [str(fault) for fault in made.faults] == ["daemon a is left out: this server has no daemon add_mian"]
    assert "add_main" in named(made)


def test_modules_of_another_package_run_in_the_pool(pool):
    made = named(section(pool, {"sweep": {"period": 60, "timeout": 5}, "add_main": {"period": 9}}, package="site.acts"))
    assert made["sweep"].kill is not None
    assert made["sweep"].code._module == "site.acts.sweep"
    assert made["add_main"].code._module == "site.acts.add_main"


def test_an_entry_of_one_of_ours_changes_it_even_in_another_package_and_it_stays_sync(pool):
    made = named(section(pool, {"share_statistics": {"period": 10}}, package="site.acts"))
    assert made["share_statistics"].code is NATIVES["share_statistics"]
    assert (made["share_statistics"].period, made["share_statistics"].sync) == (10, True)


def test_one_of_ours_can_be_disabled(pool):
    assert "queue_loader" not in named(section(pool, {"queue_loader": {"enable": False}}))


def test_an_entry_at_fault_stops_only_itself_and_ours_go_on_as_built_in(pool):
    made = section(pool, {"add_main": {}, "copyArchive": {"period": 60}, "queue_loader": {"period": "x"}})
    assert set(named(made)) == {"copyArchive", "share_statistics", "queue_loader"}
    assert len(made.faults) == 2


def test_reading_a_section_twice_gives_equal_daemons(pool):
    entries = {"sweep": {"period": 60}, "share_statistics": {"period": 10}}
    assert section(pool, entries, package="p").daemons == section(pool, entries, package="p").daemons


def test_what_is_built_in_has_the_times_of_the_guide_and_those_of_our_own():
    guide = {"add_main": 240, "add_sub": 240, "copyArchive": 2400, "datasetManager": 2400, "metric_collector": 300}
    guide |= {"task_evaluator": 300, "pilotStreaming": 300, "worker_synchronization": 1800, "evpPD2P": 600}
    guide |= {"process_workflow_files_daemon": 60, "recover_lost_files_daemon": 600}
    ours = {"async_request_daemon": 10, "share_statistics": 60, "queue_loader": 60, "setup_rescue": 60}
    ours |= {"archiver": 3600}
    assert {name: row.period for name, row in CATALOGUE.items() if not row.ours} == guide
    assert {name: row.period for name, row in CATALOGUE.items() if row.ours} == ours
    sync = {"copyArchive", "datasetManager", "pilotStreaming", "worker_synchronization"}
    assert {name for name, row in CATALOGUE.items() if row.sync} == sync | {
        "share_statistics",
        "setup_rescue",
        "archiver",
    }
    assert {name for name, row in CATALOGUE.items() if row.loop} == {"add_main", "archiver"}


def test_an_entry_that_takes_the_name_of_one_of_ours_takes_its_place(pool):
    made = section(pool, {"queue_loader": {"module": "add_main", "period": 5}})
    assert sorted(daemon.name for daemon in made.daemons) == ["queue_loader", "share_statistics"]
    assert named(made)["queue_loader"].code is NATIVES["add_main"]
