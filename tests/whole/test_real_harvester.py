"""The unmodified communicator of a Harvester checkout (HARVESTER=DIR, of any age since 2020) against a running server.

Releases of 2025 and later speak REST, older ones the other dialect; what each is told comes to the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from event_ranges import JOBSET, SEEDS, TASK
from harvester import Communicator, HarvesterFault, checkout, moment, spec
from issuer import ROBOT, IssuerProcess, client_file
from server import Home, Tables, until

from pandatx.cli.documents import PRODUCTION_DN
from pandatx.domain.user_proxies import file_name
from pandatx.store.cluster import Cluster

pytestmark = [pytest.mark.long, pytest.mark.harvester]

WORKER = {
    "workerID": 7, "batchID": "b.1", "queueName": "LOCAL", "status": "submitted", "computingSite": "LOCAL", "nCore": 1,
    "submitTime": moment("2026-01-01 00:00:00"), "jobType": "user", "resourceType": "SCORE", "nJobs": 1,
    "computingElement": "ce", "submissionHost": "sub", "harvesterHost": "hv", "minRamCount": 2000,
    "workAttributes": {"stdOut": "https://host/out"},
}  # fmt: skip
COMMAND = """
INSERT INTO harvester_commands (command_id, command, harvester_id, ack_requested, creation_date, status, params)
VALUES (%(n)s, 'KILL_WORKERS', 'hv1', 1, '2026-01-01', 'new', %(params)s)"""


@pytest.fixture
def served(home_with: Callable[..., Home], cluster: Cluster, database_name: str) -> Iterator[Home]:
    home = home_with((cluster, database_name))
    with home.server():
        yield home


@pytest.fixture
def tables(served: Home) -> Iterator[Tables]:
    tables = served.tables()
    yield tables
    tables.close()


@pytest.fixture
def harvester(served: Home) -> Iterator[Communicator]:
    with Communicator(checkout(os.environ["HARVESTER"]), served) as communicator:
        yield communicator


def has(harvester: Communicator, method: str, *args: Any) -> Any:
    """What a call returns, None where this release does not make it."""
    return harvester.call(method, *args) if harvester.has(method) else None


def test_a_folder_without_harvester_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(HarvesterFault, match="HARVESTER must name a checkout of HSF/harvester"):
        checkout(str(tmp_path))


def test_a_harvester_lives_and_reports_on_its_workers(harvester: Communicator, tables: Tables) -> None:
    assert harvester.call("check_panda")[0] is True
    wish = {"command": "SET_N_WORKERS_JOBTYPE", "computingSite": "LOCAL", "resourceType": "ANY"}
    facts = {"startTime": moment("2026-01-01 00:00:00"), "sw_version": "x", "commit_stamp": "c", "commands": [wish]}
    assert harvester.call("is_alive", facts)[0] is True
    assert harvester.call("is_alive", {})[0] is True
    text = "SELECT harvester_id, starttime::text, sw_version FROM harvester_instances"
    assert tables.query(text) == [("hv1", "2026-01-01 00:00:00", "x")]
    assert tables.query("SELECT command FROM harvester_command_lock") == [("SET_N_WORKERS_JOBTYPE",)]

    assert not has(harvester, "get_max_worker_id") or has(harvester, "get_max_worker_id")[1] in (None, "")
    workers = [spec("WorkSpec", **WORKER), spec("WorkSpec", **{**WORKER, "workerID": 8, "status": "running"})]
    assert harvester.call("update_workers", workers) == [[True, True], "OK"]
    assert harvester.call("update_workers", []) == [[], "OK"]
    text = "SELECT workerid, status, submittime::text, computingelement, stdout FROM harvester_workers ORDER BY 1"
    same = ("2026-01-01 00:00:00", "ce", "https://host/out")
    assert tables.query(text) == [(7, "submitted", *same), (8, "running", *same)]
    assert has(harvester, "get_max_worker_id") in (None, [True, 8])

    counts = {"user": {"SCORE": {"running": 1, "to_submit": None}, "Undefined": {"running": 2}}}
    assert harvester.call("update_worker_stats", "LOCAL", counts) == [True, "OK"]
    found = has(harvester, "get_worker_stats_from_panda")
    assert found in (None, [{"LOCAL": {"hv1": {"user": {"SCORE": {"running": 1, "to_submit": 0}}}}}, "OK"])

    dialog = {"diagID": 1, "moduleName": "m", "creationTime": moment("2026-01-01 00:00:00"), "diagMessage": "d"}
    assert harvester.call("send_dialog_messages", [spec("DiagSpec", **dialog)])[0] is True
    figures = ["2026-01-01 00:00:00.500000", "host", '{"cpu_pc": 1}']
    assert has(harvester, "update_service_metrics", [figures]) in (None, [True, ""], [True, "OK"])
    assert tables.query("SELECT diagid, modulename FROM harvester_dialogs") == [(1, "m")]


def test_a_harvester_fetches_and_acknowledges_commands(served: Home, harvester: Communicator, tables: Tables) -> None:
    told = {1: {"status": ["submitted"]}, 2: [7, 8], 3: None}
    for number, params in told.items():
        tables.query(COMMAND, n=number, params=None if params is None else json.dumps(params))
    commands = harvester.call("get_commands", 2) + harvester.call("get_commands", 2)
    assert {each["command_id"]: each["params"] for each in commands} == told
    assert all(each["command"] == "KILL_WORKERS" and each["ack_requested"] == 1 for each in commands)
    assert harvester.call("get_commands", 2) == []
    assert harvester.call("ack_commands", [1, 2]) is True
    text = "SELECT status FROM harvester_commands ORDER BY command_id"
    assert [status for (status,) in tables.query(text)] == ["acknowledged", "acknowledged", "retrieved"]


def test_jobs_are_pushed_reported_and_end_with_their_workers(harvester: Communicator, tables: Tables) -> None:
    first = tables.activate(3)[0]
    harvester.call("is_alive", {})
    jobs, text = harvester.call("get_jobs", "LOCAL", "node", "user", "node", 5, {"resourceType": "SCORE"})
    assert (text, [job["PandaID"] for job in jobs]) == ("OK", [first, first + 1, first + 2])
    nothing = harvester.call("get_jobs", "LOCAL", "node", "user", "node", 5, None)
    assert nothing[0] == [] and "no jobs" in nothing[1].lower()

    related = spec("WorkSpec", **{**WORKER, "status": "running"}, pandaid_list=[first], syncLevel=1)
    assert harvester.call("update_workers", [related])[0] == [True]
    specs = [spec("JobSpec", job, computingSite="LOCAL", status="running", subStatus="running") for job in jobs]
    specs[1]["values"] |= {"status": "failed", "subStatus": "killed", "jobAttributes": {"pilotErrorCode": 1144}}
    specs[2]["values"]["jobAttributes"] = {"token": "t", "endTime": 1767225700.25, "maxRSS": 100, "coreCount": 1}
    told = harvester.call("update_jobs", specs, "propagator")
    assert [each["StatusCode"] for each in told] == [0, 0, 0]
    assert all(each["command"] != "tobekilled" for each in told)
    until(lambda: tables.status(first + 1) == "failed", "the failed job is archived")
    text = "SELECT jobstatus, computingelement, schedulerid FROM jobsactive4 WHERE pandaid = %(id)s"
    assert tables.query(text, id=first) == [("running", "ce", "harvester-hv1")]

    tables.query("UPDATE jobsactive4 SET commandtopilot = 'tobekilled' WHERE pandaid = %(id)s", id=first + 2)
    assert harvester.call("update_jobs", specs[2:], "propagator")[0]["command"] == "tobekilled"
    checked = harvester.call("check_jobs", specs)
    assert [(each["StatusCode"], each["status"], each["command"]) for each in checked] == [
        (0, "running", None),
        (0, "failed", None),
        (0, "running", "tobekilled"),
    ]

    lost = spec("WorkSpec", workerID=7, status="failed", syncLevel=1, errorCode=9, errorDiag="lost")
    assert harvester.call("update_workers", [lost])[0] == [True]
    until(lambda: tables.status(first) == "failed", "the job of the worker that ended is archived")
    text = "SELECT taskbuffererrorcode, superrorcode, superrordiag FROM jobsarchived4 WHERE pandaid = %(id)s"
    assert tables.query(text, id=first) == [(300, 9, "of the worker: lost")]


def test_statistics_are_told(harvester: Communicator, tables: Tables) -> None:
    """Counted once a minute. Releases before 2025 wait for a pickle, which nobody is given."""
    tables.activate(2)
    counts, text = harvester.call("get_job_stats")
    if text == "Exception":
        return
    assert text == "OK"
    until(lambda: "LOCAL" in harvester.call("get_job_stats")[0], "the jobs are counted", seconds=100, every=1)
    counts, _ = harvester.call("get_job_stats")
    assert {name: number for name, number in counts["LOCAL"].items() if number} == {"activated": 2}
    detailed, _ = harvester.call("get_job_stats_new")
    assert detailed["LOCAL"]["SCORE"]["user"]["activated"] == 2


def test_logs_and_checkpoints_are_kept(harvester: Communicator, served: Home, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"first\nsecond\n")
    assert harvester.call("upload_file", "hv1__worker.log", {"file": str(log)}, 0, 6)[0] is True
    assert harvester.call("upload_file", "hv1__worker.log", {"file": str(log)}, 6, 7)[0] is True
    (kept,) = served.path.rglob("hv1__worker.log")
    assert kept.read_bytes() == log.read_bytes()

    uploaded = has(harvester, "upload_checkpoint", served.url, "7", "1", "7_3", str(log))
    if uploaded is None:
        return
    assert uploaded is True
    (kept,) = served.path.rglob("hpo_cp_7_3")
    assert kept.read_bytes() == log.read_bytes()
    cleared = harvester.call("clear_checkpoint", served.url, "7", "3")
    assert cleared[0] is True if isinstance(cleared, list) else cleared["status"] is True
    assert not kept.exists()


def test_events_are_handed_out_and_taken_back(harvester: Communicator, tables: Tables) -> None:
    tables.query(SEEDS)
    job = spec("JobSpec", PandaID=50, jobsetID=JOBSET, taskID=TASK, jobParams={"jobsetID": JOBSET})
    assert harvester.call("check_event_availability", job) == [True, 3]
    wanted = {"50": {"pandaID": 50, "taskID": TASK, "jobsetID": JOBSET, "nRanges": 2}}
    done, found = harvester.call("get_event_ranges", wanted, False, "/tmp")
    (ranges,) = found.values()
    assert done is True and [each["startEvent"] for each in ranges] == [1, 2]
    events = [{"eventRangeID": each["eventRangeID"], "eventStatus": "finished"} for each in ranges]
    told = harvester.call("update_event_ranges", [{"eventRanges": events}], "LOGGER")
    assert (told["StatusCode"], told["Returns"]) == (0, [True, True])


def test_what_is_kept_for_users_is_handed_out(
    home_with: Callable[..., Home], cluster: Cluster, database_name: str, tmp_path: Path
) -> None:
    keys, credentials = tmp_path / "keys", tmp_path / "credentials"
    for folder in (keys, credentials):
        folder.mkdir(mode=0o700)
    for path, text in ((keys / "pub", "public"), (keys / "priv", "private")):
        path.write_text(text)
        path.chmod(0o600)
    proxy = credentials / file_name(PRODUCTION_DN, "atlas")
    proxy.write_text("PROXY")
    proxy.chmod(0o600)
    home = home_with((cluster, database_name), server={"keyDir": keys}, pandatx={"credentials_dir": credentials})
    tables = home.tables()
    tables.query("INSERT INTO doma_pandameta.users (id, name, gridpref) VALUES (1, 'production', 'pkt')")
    tables.query(
        "INSERT INTO doma_pandameta.proxykey (id, dn, credname, expires, origin, myproxy)"
        " VALUES (1, 'client', 'THE KEY', '2999-01-01', '', '')"
    )
    with home.server(), Communicator(checkout(os.environ["HARVESTER"]), home) as harvester:
        assert harvester.call("get_proxy", "atlas")[0] == "PROXY"
        assert harvester.call("get_proxy", "another")[0] is None
        assert has(harvester, "get_token_key", "client") in (None, ["THE KEY", ""])
        pair, _ = harvester.call("get_key_pair", "pub", "priv")
        assert (pair["publicKey"], pair["privateKey"]) == ("public", "private")
        types = has(harvester, "get_resource_types")
        if types is not None:
            assert {"resource_name", "mincore", "maxcore", "minrampercore", "maxrampercore"} <= set(types[0][0])
    tables.close()


def test_a_harvester_may_come_with_a_token(
    home_with: Callable[..., Home], cluster: Cluster, database_name: str, tmp_path: Path
) -> None:
    """A service client of a token issuer with the production role, as releases since 2021 can."""
    home = home_with((cluster, database_name), server={"token_authType": "oidc"})
    with IssuerProcess(tmp_path) as issuer:
        (home.path / "auth" / "atlas:production_auth_config.json").write_text(client_file(issuer, robot_ids=[ROBOT]))
        (tmp_path / "token").write_text(issuer.robots_token())
        token = {"auth_type": "oidc", "auth_token": f"file:{tmp_path / 'token'}", "auth_origin": "atlas:production"}
        source = checkout(os.environ["HARVESTER"])
        with home.server(), Communicator(source, home, **token, cert_file=None, key_file=None) as harvester:
            if harvester.has("force_credential_renewal"):
                assert harvester.call("is_alive", {"sw_version": "x"})[0] is True
                assert harvester.call("update_workers", [spec("WorkSpec", **WORKER)]) == [[True], "OK"]
                tables = home.tables()
                assert tables.query("SELECT harvester_id FROM harvester_instances") == [("hv1",)]
                tables.query(COMMAND, n=1, params=None)
                tables.close()
                assert [each["command"] for each in harvester.call("get_commands", 5)] == ["KILL_WORKERS"]
