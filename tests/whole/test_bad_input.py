"""Whatever comes in: no 5xx, no traceback, and the database is as it was."""

from __future__ import annotations

import gzip
import itertools
import json
import socket

import pytest
from load import Connection
from server import Home, Process, Tables

V1 = (
    "pilot/acquire_jobs pilot/update_job pilot/update_jobs_bulk pilot/get_job_status pilot/update_worker_status "
    "pilot/update_worker_node pilot/update_worker_node_gpu job/submit job/get_status job/get_description "
    "job/get_description_incl_archive job/kill job/reassign job/set_command pandatx/list_jobs "
    "pandatx/complete_dataset nothing/at_all"
).split()
LEGACY = "getJob updateJob getStatus updateWorkerPilotStatus checkJobStatus __init__ nothing".split()
HUGE = 2**80
DOCUMENTS = (
    {"job_ids": "x", "jobs": "x", "job_id": "x", "job_list": "x", "jobId": "x", "name": {}, "siteName": []},
    {"job_ids": [None], "jobs": [None], "job_id": [], "job_list": [None], "site_name": {"a": 1}},
    {"job_ids": [HUGE], "jobs": [[]], "job_id": HUGE, "job_status": "running", "jobId": HUGE, "state": "x"},
    {"job_id": 1, "job_status": "nonsense", "jobId": "1", "state": "\0", "site_name": "\0", "siteName": "\0"},
    {"jobs": [{"computingSite": "LOCAL", "Files": [{"fsize": "x"}]}], "job_ids": [1.5], "name": "\0"},
    {"job_list": [{"job_id": HUGE, "job_status": "running"}, {"job_id": 1}], "limit": "x", "command": {}},
)
BODIES = (
    *(b"", b"null", b"[]", b"{}", b"{", b"\xff\xfe", b'"text"', b"7", b"NaN", b"[" * 100_000),
    *(gzip.compress(b"{")[:-4], b"\x1f\x8b\x08rubbish"),
    *(json.dumps(document).encode() for document in DOCUMENTS),
)
KINDS = ("application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data")
PATHS = (*(f"/api/v1/{name}" for name in V1), *(f"/server/panda/{name}" for name in LEGACY))
POST = b"POST /server/panda/getJob HTTP/1.1\r\n"
NO_HTTP = (
    b"\r\n\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    POST + b"Content-Length: x\r\n\r\n",
    POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\x16\x03\x01\x00\x05hello",
    b"A" * 70_000,
    b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n\r\n",
    b"GET /cache/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
)


@pytest.fixture
def tables(home: Home) -> Tables:
    tables = home.tables()
    tables.activate(2)
    return tables


def everything(tables: Tables) -> list[object]:
    names = (
        "jobsdefined4",
        "jobsactive4",
        "jobsarchived4",
        "filestable4",
        "jobs_statuslog",
        "job_output_report",
        "datasets",
    )
    return [tables.query(f"SELECT t::text FROM {name} t ORDER BY 1") for name in names]


def test_nonsense_is_refused_and_changes_nothing(home: Home, tables: Tables) -> None:
    before = everything(tables)
    with home.server() as server:
        connection = Connection(home, "production.pem")
        faults = []
        for body, kind, path in itertools.product(BODIES, KINDS, PATHS):
            for verb in ("POST", "GET", "PUT", "DELETE") if kind == KINDS[0] else ("POST",):
                answer = connection.ask(verb, path, body, Content_Type=kind)
                fault = answer.status >= 500 or b"Traceback" in answer.body
                if fault or (path.startswith("/api/") and not set(answer.json) >= {"success", "message", "data"}):
                    faults.append((verb, path, kind, body[:80], answer.status, answer.body[:200]))
        assert faults == []
        assert everything(tables) == before
        assert "Traceback" not in server.text
    tables.close()


def test_a_heartbeat_with_one_bad_optional_field_is_stored_without_it(home: Home, tables: Tables) -> None:
    with home.server():
        connection = Connection(home)
        fields = {"siteName": "LOCAL", "prodSourceLabel": "user", "node": "n", "mem": 16000.0}
        job = connection.legacy("getJob", **fields).fields
        report = {"jobId": job["PandaID"], "state": "running", "attemptNr": job["attemptNr"], "coreCount": "many"}
        assert connection.legacy("updateJob", **report, maxRSS=4711).fields["StatusCode"] == "0"
        row = tables.query(
            "SELECT jobstatus, maxrss, actualcorecount FROM jobsactive4 WHERE pandaid = %(id)s", id=job["PandaID"]
        )
        assert row == [("running", 4711, None)]
    tables.close()


def test_without_a_certificate_nothing_is_given(home: Home, tables: Tables) -> None:
    before = everything(tables)
    with home.server():
        connection = Connection(home, "")
        for answer in (connection.v1("pilot/acquire_jobs", site_name="LOCAL"), connection.v1("job/kill", job_ids=[1])):
            assert answer.json == {"success": False, "message": "SSL secure connection is required", "data": None}
        assert connection.legacy("getJob", siteName="LOCAL").fields["StatusCode"] == "60"
        assert everything(tables) == before
    tables.close()


@pytest.mark.parametrize("raw", NO_HTTP)
def test_what_is_no_http_ends_its_own_connection_only(server: Process, raw: bytes) -> None:
    with socket.create_connection(("localhost", server.home.http_port), timeout=10) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while chunk := connection.recv(65536):
                got += chunk
        except ConnectionResetError:
            got += b""
    assert b"Traceback" not in got and b"root:" not in got and b" 500 " not in got[:40]
    assert Connection(server.home, "").ask("GET", "/server/panda/isAlive").body == b"alive=yes"
    assert "Traceback" not in server.text
