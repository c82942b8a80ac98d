"""A served port: who gets in with which certificate, and what is said without a database (rules R15, R25, R29)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from load import Connection, NoAnswer
from server import Home

from pandatx.identity import authority
from pandatx.identity.callers import LIMITED
from pandatx.store.cluster import Cluster
from pandatx.store.home import DATABASE


@pytest.fixture
def frail(tmp_path: Path) -> Iterator[tuple[Home, Cluster]]:
    """A server that is up, and its PostgreSQL, which the test may stop."""
    cluster = Cluster()
    cluster.start()
    home = Home.make(tmp_path / "panda", (cluster, DATABASE))
    made = home.command("db", "upgrade", "--config", home.config)
    assert made.returncode == 0, made.stderr
    home.server().start()
    yield home, cluster
    home.end()
    cluster.stop()


def write_proxies(home: Home) -> None:
    user = authority.load((home.path / "pilot.pem").read_bytes())
    now = datetime.now(UTC)
    limited = authority.make_proxy(user, now, limited=True)
    deep = authority.make_proxy(authority.make_proxy(user, now), now)
    (home.path / "limited.pem").write_bytes(limited.pem())
    (home.path / "deep.pem").write_bytes(deep.pem())


def test_each_kind_of_certificate_may_do_what_it_may_and_a_lost_database_is_told_in_each_dialect(
    frail: tuple[Home, Cluster],
) -> None:
    home, cluster = frail
    write_proxies(home)
    tables = home.tables()
    tables.activate(1)
    asks = {"siteName": "LOCAL", "prodSourceLabel": "user"}
    worker = {"workerID": 1, "harvesterID": "h", "status": "started"}
    for certificate, get_job, node in (
        ("", "60", "failed to retrieve DN"),
        ("user.pem", "20", "production or pilot role is required"),
        ("limited.pem", "20", f"failed to retrieve DN: {LIMITED}"),
        ("deep.pem", "20", "StatusCode=0"),
    ):
        if get_job == "20":
            asks["siteName"] = "NONE"
        asked = Connection(home, certificate)
        assert asked.legacy("getJob", **asks).fields["StatusCode"] == get_job, certificate
        assert asked.legacy("updateWorkerPilotStatus", **worker).body.decode() == node, certificate
    asks["siteName"] = "LOCAL"
    pilot = Connection(home, "limited.pem")
    job = pilot.legacy("getJob", **asks).fields
    named = {"jobId": job["PandaID"], "attemptNr": job["attemptNr"]}
    assert pilot.legacy("updateJob", state="running", **named).fields["command"] == "NULL"

    tables.close()
    cluster.stop()
    answers: dict[str, dict[str, str]] = {}

    def ask_for_a_job() -> None:
        answers["getJob"] = Connection(home).legacy("getJob", **asks).fields

    waiting = threading.Thread(target=ask_for_a_job)
    waiting.start()
    assert pilot.legacy("updateJob", state="running", **named).fields["StatusCode"] == "10"
    final = pilot.legacy("updateJob", state="finished", **named).body.decode()
    assert final == "StatusCode=0&command=NULL"
    refused = Connection(home).v1("job/kill", job_ids=[1])
    assert (refused.status, refused.json["success"]) == (503, False)
    assert int(refused.headers["Retry-After"]) > 0
    queue = Connection(home, "").ask("POST", "/cache/schedconfig/LOCAL.all.json", b"")
    assert (queue.status, queue.json["nickname"]) == (200, "LOCAL")
    assert Connection(home, "").ask("GET", "/server/panda/isAlive").body == b"alive=yes"
    assert Connection(home, "").get("system/is_alive").json["success"]
    assert Connection(home, "").ask("GET", "/readyz").status == 503
    waiting.join(30)
    assert answers["getJob"]["StatusCode"] == "20"
    for certificate in ("", "user.pem"):
        token = Connection(home, certificate).ask("GET", "/server/panda/isAlive", Authorization="Bearer x")
        assert (token.status, token.body[:36]) == (403, b"ERROR : Token authentication failed.")


def test_a_certificate_of_another_authority_gets_no_answer(frail: tuple[Home, Cluster]) -> None:
    home, _ = frail
    now = datetime.now(UTC)
    other = authority.make_authority("/DC=local/DC=pandatx/CN=CA", now)
    (home.path / "other.pem").write_bytes(authority.make_user(other, "/DC=local/DC=pandatx/CN=production", now).pem())
    with pytest.raises(NoAnswer):
        Connection(home, "other.pem").v1("job/kill", job_ids=[1])
