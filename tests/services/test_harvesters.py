"""Heartbeats, messages, figures and commands of Harvesters, on a real database."""

import json
from datetime import UTC, datetime

import pytest
from attrs import evolve
from endings import run
from twisted.internet.defer import Deferred, gatherResults

from pandatx.domain.caller import Caller
from pandatx.domain.harvester_requests import (
    CommandWish,
    Dialog,
    HarvesterFacts,
    ServiceMetric,
    SweepRequest,
    TargetSlots,
)
from pandatx.domain.pilot_streaming import Command
from pandatx.domain.queues import Queue
from pandatx.errors import BadRequest, Busy, NotPermitted
from pandatx.services.facts import Facts, Known
from pandatx.services.harvester import Harvesters
from pandatx.services.owners import Owners
from pandatx.store import harvester_commands
from pandatx.store.database import Database, OutcomeUnknown

PROD = Caller(dn="/CN=prod", name="prod", production=True, address="192.0.2.7")
ALICE = Caller(dn="/CN=alice", name="alice", address="192.0.2.1")
BOB = evolve(ALICE, dn="/CN=bob", name="bob")
START = datetime(2026, 1, 1, tzinfo=UTC)
INSTANCES = (
    "SELECT harvester_id, description, owner, hostname, lastupdate, starttime, sw_version, commit_stamp"
    " FROM {panda}.harvester_instances ORDER BY 1"
)
COMMANDS = "SELECT command, status, params, status_date FROM {panda}.harvester_commands ORDER BY command_id"
CES = [{"ce_endpoint": "ce1:9619"}, {"ce_endpoint": "ce2:9619"}, {"nothing": 1}]


@pytest.fixture
def harvesters(database, now) -> Harvesters:
    queues = {
        "Q": Queue(name="Q", document={"harvester": "h", "queues": CES}),
        "R": Queue(name="R", document={"harvester": "h"}),
        "alone": Queue(name="alone"),
    }
    return Harvesters(database, now, Facts(database, now, known=Known(queues=queues)), Owners(database, now))


async def test_a_harvester_fetches_so_many_commands_at_a_time_at_most(database, harvesters, monkeypatch):
    monkeypatch.setattr("pandatx.services.harvester.MOST_COMMANDS", 2)
    for queue in ("A", "B", "C"):
        command = Command(harvester="h", name=f"SET_N_WORKERS_JOBTYPE:{queue}", params={})
        await database.transaction("add", harvester_commands.add, command, START)
    assert [len((await harvesters.take_commands("h", 10**9)).commands) for _ in range(3)] == [2, 1, 0]


async def test_the_first_heartbeat_makes_a_harvester_with_all_that_it_says(database, harvesters, time):
    facts = HarvesterFacts(start_time=START, sw_version="0.7.5", commit_stamp="c")
    await harvesters.heartbeat(PROD, "h", facts, [])
    assert await run(database, INSTANCES) == [
        ("h", "automatic", "prod", "192.0.2.7", START, START, "0.7.5", "c"),
    ]
    time.advance(60)
    await harvesters.heartbeat(PROD, "h", HarvesterFacts(sw_version="0.7.6"), [])
    ((*_, seen, started, version, stamp),) = await run(database, INSTANCES)
    assert (seen.minute, started, version, stamp) == (1, START, "0.7.6", "c")


async def test_a_harvester_is_the_users_who_came_first(database, harvesters):
    await harvesters.heartbeat(ALICE, "h", HarvesterFacts(), [])
    await harvesters.heartbeat(ALICE, "h", HarvesterFacts(), [])
    with pytest.raises(NotPermitted, match="harvester h is not yours"):
        await harvesters.heartbeat(BOB, "h", HarvesterFacts(), [CommandWish(command="X", computing_site="Q")])
    for work in (harvesters.add_dialogs(BOB, "h", []), harvesters.add_metrics(BOB, "h", [])):
        with pytest.raises(NotPermitted):
            await work
    assert await run(database, "SELECT * FROM {panda}.harvester_command_lock") == []
    await harvesters.heartbeat(PROD, "h", HarvesterFacts(), [])
    assert [row[2] for row in await run(database, INSTANCES)] == ["prod"]


async def test_a_command_that_a_harvester_takes_has_a_lock_that_is_free(database, harvesters):
    wishes = [
        CommandWish(command="SET_N_WORKERS_JOBTYPE", computing_site="Q"),
        CommandWish(command="SET_N_WORKERS_JOBTYPE", computing_site="Q"),
        CommandWish(command="REPORT_WORKER_STATS", computing_site="Q", resource_type="SCORE"),
    ]
    await harvesters.heartbeat(PROD, "h", HarvesterFacts(), wishes)
    await run(
        database, "UPDATE {panda}.harvester_command_lock SET lockedby = 'x' WHERE resourcetype = 'ANY' RETURNING 1"
    )
    await harvesters.heartbeat(PROD, "h", HarvesterFacts(), wishes)
    text = "SELECT command, computingsite, resourcetype, lockedtime, lockedby FROM {panda}.harvester_command_lock"
    yesterday = datetime(2025, 12, 31, tzinfo=UTC)
    assert sorted(await run(database, text)) == [
        ("REPORT_WORKER_STATS", "Q", "SCORE", yesterday, None),
        ("SET_N_WORKERS_JOBTYPE", "Q", "ANY", yesterday, "x"),
    ]


async def test_a_name_that_no_column_takes_is_refused(database, harvesters):
    with pytest.raises(BadRequest, match="cannot be stored"):
        await harvesters.heartbeat(PROD, "h" * 51, HarvesterFacts(), [])
    assert await run(database, INSTANCES) == []


# Messages and figures


def dialog(number, text="d", **values) -> Dialog:
    return Dialog(diag_id=number, diag_message=text, creation_time=START, **values)


async def test_a_message_that_is_sent_again_takes_the_place_of_the_first(database, harvesters):
    await harvesters.add_dialogs(
        PROD, "h", [dialog(1, module_name="m", identifier="i", message_level="ERROR"), dialog(2)]
    )
    await harvesters.add_dialogs(PROD, "another", [dialog(2)])
    await harvesters.add_dialogs(PROD, "h", [dialog(2, "old"), dialog(2, "new")])
    await harvesters.add_dialogs(PROD, "h", [])
    text = (
        "SELECT harvester_id, diagid, modulename, identifier, creationtime, messagelevel, diagmessage"
        " FROM {panda}.harvester_dialogs ORDER BY 1, 2"
    )
    assert await run(database, text) == [
        ("another", 2, None, None, START, None, "d"),
        ("h", 1, "m", "i", START, "ERROR", "d"),
        ("h", 2, None, None, START, None, "new"),
    ]


async def test_figures_are_kept_once_and_none_by_half(database, harvesters):
    figure = ServiceMetric(creation_time=START, host="host", metrics='{"cpu_pc": 1}')
    sent = [figure, figure, evolve(figure, host="b"), evolve(figure, host="c", metrics="x" * 4001)]
    for _ in range(2):
        await harvesters.add_metrics(PROD, "h", sent)
    text = "SELECT harvester_id, creation_time, harvester_host, metrics FROM {panda}.harvester_metrics ORDER BY 3"
    assert await run(database, text) == [("h", START, "b", figure.metrics), ("h", START, "host", figure.metrics)]


# Commands


async def leave(database, now, *names, harvester="h") -> None:
    commands = [Command(harvester=harvester, name=name, params={"n": 1}) for name in names]
    await database.transaction("test", harvester_commands.replace, commands, now.now())


async def test_commands_are_fetched_once_the_oldest_first_and_acknowledged(database, harvesters, now, time):
    await leave(database, now, "B", "A")
    time.advance(1)
    await leave(database, now, "C")
    await leave(database, now, "D", harvester="another")
    taken = await harvesters.take_commands("h", 2)
    assert [(each.command, each.params, each.ack_requested) for each in taken.commands] == [
        ("B", {"n": 1}, 0),
        ("A", {"n": 1}, 0),
    ]
    assert [each.command for each in (await harvesters.take_commands("h", 2)).commands] == ["C"]
    assert (await harvesters.take_commands("h", 2)).commands == ()
    time.advance(1)
    await harvesters.acknowledge([each.command_id for each in taken.commands])
    await harvesters.acknowledge([])
    assert [(row[0], row[1], row[3].second) for row in await run(database, COMMANDS)] == [
        ("B", "acknowledged", 2),
        ("A", "acknowledged", 2),
        ("C", "retrieved", 1),
        ("D", "new", 1),
    ]


async def test_commands_whose_answer_never_left_are_fetched_again(database, harvesters, now, time):
    await leave(database, now, "A", "B")
    taken = await harvesters.take_commands("h", 5)
    time.advance(1)
    await harvesters.acknowledge([taken.commands[1].command_id])
    await harvesters.give_back(taken)
    assert [each.command for each in (await harvesters.take_commands("h", 5)).commands] == ["A"]


@pytest.mark.parametrize("stored", [True, False])
async def test_commands_of_which_nobody_knows_whether_they_were_fetched_are_fetched_again(
    database, harvesters, now, time, monkeypatch, stored
):
    await leave(database, now, "A", "B")
    commit, faults = Database._commit, [OutcomeUnknown(), OutcomeUnknown(), Busy()]

    async def lost(self, session, tx, patience):
        if stored and isinstance(faults[0], OutcomeUnknown):
            await commit(self, session, tx, patience)
        raise faults.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "_commit", lost)
        for _ in range(3):
            with pytest.raises(Busy):
                await harvesters.take_commands("h", 1)
            time.advance(1)
    assert [each.command for each in (await harvesters.take_commands("h", 5)).commands] == ["A", "B"]
    assert (await harvesters.take_commands("h", 5)).commands == ()


async def test_params_of_a_found_database_may_be_none_or_no_json(database, harvesters):
    for number, params in ((1, "NULL"), (2, "'{'")):
        await run(
            database,
            "INSERT INTO {panda}.harvester_commands (command_id, command, harvester_id, creation_date, status, params)"
            f" VALUES ({number}, 'X', 'h', '2026-01-01', 'new', {params}) RETURNING 1",
        )
    taken = await harvesters.take_commands("h", 5)
    assert [(each.params, each.ack_requested) for each in taken.commands] == [(None, 0), ("{", 0)]


def sweep(queue="Q", statuses=("submitted",), elements=("ALL",), hosts=("ALL",)) -> SweepRequest:
    return SweepRequest(panda_queue=queue, status_list=statuses, ce_list=elements, submission_host_list=hosts)


async def test_the_harvester_of_a_queue_is_told_to_end_workers(database, harvesters):
    assert await harvesters.sweep(PROD, sweep(elements=("ce2:9619", "elsewhere"), hosts=("s1", "s2"))) == "OK"
    ((command, status, params, _),) = await run(database, COMMANDS)
    assert (command, status) == ("KILL_WORKERS", "new")
    assert json.loads(params) == {
        "status": ["submitted"],
        "computingSite": ["Q"],
        "computingElement": ["ce2:9619"],
        "submissionHost": ["s1", "s2"],
    }


async def test_a_sweep_is_not_queued_twice_and_loses_no_other(database, harvesters):
    for request in (sweep(), sweep("R"), sweep(), sweep(statuses=("ALL",))):
        assert await harvesters.sweep(PROD, request) == "OK"
    found = [json.loads(row[2]) for row in await run(database, COMMANDS)]
    assert [(each["computingSite"], each["status"]) for each in found] == [
        (["R"], ["submitted"]),
        (["Q"], ["submitted"]),
        (["Q"], "ALL"),
    ]
    await harvesters.take_commands("h", 5)
    await harvesters.sweep(PROD, sweep("R"))
    assert [row[1] for row in await run(database, COMMANDS)] == ["new"]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (sweep("nowhere"), "Error retrieving queue configuration from DB"),
        (sweep("alone"), "Queue not served by any harvester ID"),
        (sweep(elements=("elsewhere",)), "no worker is meant: ce_list is empty, or names nothing that the queue has"),
        (sweep(statuses=()), "no worker is meant: status_list is empty, or names nothing that the queue has"),
    ],
)
async def test_a_sweep_that_can_end_nothing_is_refused(database, harvesters, request_, text):
    assert await harvesters.sweep(PROD, request_) == text
    assert await run(database, COMMANDS) == []


# Slots

SLOTS = (
    "SELECT pandaqueuename, gshare, resourcetype, numslots, expirationtime FROM {panda}.harvester_slots"
    " ORDER BY gshare NULLS FIRST"
)


async def test_slots_are_set_changed_and_taken_back(database, harvesters):
    whole = TargetSlots(panda_queue="Q", slots=10)
    share = evolve(whole, global_share="S", resource_type="SCORE", expiration_date="7")
    assert await harvesters.set_slots(PROD, whole) == "set numSlots=10 for PQ=Q gshare=None resource=None"
    await harvesters.set_slots(PROD, share)
    await harvesters.set_slots(PROD, evolve(whole, slots=20))
    week = datetime(2026, 1, 8, tzinfo=UTC)
    assert await run(database, SLOTS) == [("Q", None, None, 20, None), ("Q", "S", "SCORE", 10, week)]
    await harvesters.set_slots(PROD, evolve(whole, slots=-1))
    await harvesters.set_slots(PROD, evolve(whole, panda_queue="R", slots=-1))
    assert await run(database, SLOTS) == [("Q", "S", "SCORE", 10, week)]


async def test_two_wishes_at_once_are_one(database, harvesters):
    wishes = [TargetSlots(panda_queue="Q", slots=n) for n in range(6)]
    await gatherResults([Deferred.fromCoroutine(harvesters.set_slots(PROD, wish)) for wish in wishes])
    assert len(await run(database, SLOTS)) == 1


@pytest.mark.parametrize("values", [{"slots": -2}, {"expiration_date": "soon"}, {"global_share": "s" * 33}])
async def test_slots_that_make_no_sense_are_refused(database, harvesters, values):
    with pytest.raises(BadRequest):
        await harvesters.set_slots(PROD, evolve(TargetSlots(panda_queue="Q", slots=10), **values))
    assert await run(database, SLOTS) == []
