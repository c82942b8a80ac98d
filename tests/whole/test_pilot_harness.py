"""The harness of the real pilot, and what ``pandatx init`` writes for it, against a stand-in that hands out one job."""

from __future__ import annotations

import gzip
import json
import os
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pilot import (
    Pilot,
    Place,
    hashed_authorities,
    lives,
    obtain,
    takes_base_urls,
    transformation,
    version,
)

from pandatx.cli import init
from pandatx.cli.documents import Places

CACHE = Path(__file__).parents[2] / ".run" / "pilots"


class StandIn(ThreadingHTTPServer):
    """Gives away the jobs it was made with, one per getJob, and keeps every call with its fields."""

    daemon_threads = True

    def __init__(self, home: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.home = home
        self.jobs: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.subjects: list[str] = []
        self.command = "NULL"
        self.called = threading.Condition()

    def handle_error(self, request: Any, client_address: Any) -> None:
        return

    def wait_for_state(self, state: str, timeout: float) -> dict[str, Any]:
        """The report that says so, once it has come."""

        def found() -> list[dict[str, Any]]:
            return [fields for name, fields in self.calls if name == "updateJob" and fields["state"] == state]

        with self.called:
            assert self.called.wait_for(found, timeout), self.updates()
            return found()[-1]

    def updates(self) -> list[str]:
        return [fields["state"] for name, fields in self.calls if name == "updateJob"]


class Handler(BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        queue = json.loads((self.server.home / "queues.json").read_text())["LOCAL"]
        known = {"/cache/schedconfig/LOCAL.all.json": lambda: json.dumps(queue).encode()}
        known |= {"/trf/user/runGen-00-00-02": lambda: (self.server.home / "trf/user/runGen-00-00-02").read_bytes()}
        body = known.get(self.path, lambda: b"")()
        self._answer(body, 200 if body else 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        as_json = "json" in self.headers.get("Content-Type", "")
        fields = json.loads(body) if as_json else dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        method = self.path.rsplit("/", 1)[1]
        with self.server.called:
            self.server.calls.append((method, fields))
            self.server.called.notify_all()
        certificate = self.connection.getpeercert()  # type: ignore[attr-defined]
        self.server.subjects.append(str(certificate and certificate["subject"]))
        answer: dict[str, Any] = {"StatusCode": 0, "command": self.server.command}
        if method == "getJob":
            answer = {"StatusCode": 0, **self.server.jobs.pop(0)} if self.server.jobs else {"StatusCode": 20}
        wants_json = "json" in self.headers.get("Accept", "")
        self._answer((json.dumps(answer) if wants_json else urllib.parse.urlencode(answer)).encode(), 200)

    def _answer(self, body: bytes, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    home = tmp_path / "home"
    server = StandIn(home)
    port = server.server_address[1]
    places = Places(home=home, http_port=port, https_port=port, metrics_port=port, user="nobody", group="nogroup")
    init.write(places, datetime.now(UTC))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(home / "ca.pem"))
    context.load_cert_chain(home / "hostcert.pem", home / "hostkey.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_ALLOW_PROXY_CERTS
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def place_of(server: StandIn) -> Place:
    url = f"https://localhost:{server.server_address[1]}"
    return Place(home=server.home, server=url, web=url)


def job(url: str, shell: str) -> dict[str, Any]:
    return {
        "PandaID": 4711, "taskID": 1, "jobsetID": 1, "attemptNr": 0, "prodSourceLabel": "user", "maxWalltime": 3600,
        "transformation": url, "prodUserID": "someone", "coreCount": 1, "inFiles": "", "logFile": "job.log.tgz",
        "jobPars": f'--exec "{urllib.parse.quote(shell)}"', "swRelease": "NULL", "cmtConfig": "NULL",
        "outFiles": "out.txt,job.log.tgz", "scopeOut": "user.me", "scopeLog": "user.me",
        "homepackage": "NULL", "logGUID": "3d1f1a4e-0000-4000-8000-000000000001",
        "realDatasets": "user.me.out,user.me.log", "ddmEndPointOut": "LOCAL_DATA,LOCAL_DATA",
    }  # fmt: skip


def run_one_job(server: StandIn, source: Path, directory: Path) -> None:
    place = place_of(server)
    server.jobs.append(job(transformation(source, place, init.TRANSFORM), "echo hello > out.txt"))
    with Pilot(source, place, directory, heartbeat=5) as pilot:
        assert pilot.wait_for_jobs(1, 90) == {4711: "finished"}, pilot.log
    assert server.updates()[0] == "starting" and server.updates()[-1] == "finished"
    assert any("pilot" in subject for subject in server.subjects)
    report = json.loads(server.wait_for_state("finished", 1)["xml"])
    assert set(report) == {"out.txt", "job.log.tgz"} and report["out.txt"]["fsize"] == 6
    assert [path.read_text() for path in (server.home / "storage").rglob("out.txt")] == ["hello\n"]


def test_the_pilot_of_pypi_takes_a_job_to_finished(stand_in: StandIn, tmp_path: Path) -> None:
    source = obtain(None, CACHE)
    assert not takes_base_urls(source) and version(source) == "3.7.0.36"
    run_one_job(stand_in, source, tmp_path / "pilot")


@pytest.mark.long
def test_the_pilot_of_a_checkout_takes_a_job_to_finished(stand_in: StandIn, tmp_path: Path) -> None:
    run_one_job(stand_in, obtain(os.environ["PILOT"], CACHE), tmp_path / "pilot")


def kill_running_job(server: StandIn, source: Path, directory: Path) -> None:
    place = place_of(server)
    marker = server.home / "payload.pid"
    shell = f"echo $$ > {marker}; sleep 600; touch out.txt"
    server.jobs.append(job(transformation(source, place, init.TRANSFORM), shell))
    with Pilot(source, place, directory, heartbeat=5) as pilot:
        pilot.wait_for("monitor loop #3:", 60)
        payload = int(marker.read_text())
        assert lives(payload)
        server.command = "tobekilled"
        # A killed job gets no summary in the log: the pilot reports, and goes home.
        assert int(server.wait_for_state("failed", 60)["pilotErrorCode"]) == 1144
        if takes_base_urls(source):  # the older one ends the shell around the payload only
            assert not lives(payload)


@pytest.mark.long
def test_tobekilled_fails_the_job_of_the_pilot_of_pypi(stand_in: StandIn, tmp_path: Path) -> None:
    kill_running_job(stand_in, obtain(None, CACHE), tmp_path / "pilot")


@pytest.mark.long
def test_tobekilled_ends_the_payload_of_the_pilot_of_a_checkout(stand_in: StandIn, tmp_path: Path) -> None:
    kill_running_job(stand_in, obtain(os.environ["PILOT"], CACHE), tmp_path / "pilot")


def test_authorities_are_found_by_the_hash_of_their_name(stand_in: StandIn) -> None:
    directory = hashed_authorities(stand_in.home)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(capath=str(directory))
    [name] = [path.name for path in directory.iterdir()]
    assert name.endswith(".0") and len(name) == 10
