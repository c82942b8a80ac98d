"""The unmodified pilot3 with a bearer token in place of a proxy, from getJob to the final status."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from issuer import ROBOT, SECRET, Issuer, IssuerProcess, client_file
from load import tls
from pilot import Pilot, Place, obtain, transformation
from server import Home, Tables, until
from test_real_pilot import CACHE, SCRIPT, ends_as

from pandatx.store.cluster import Cluster

pytestmark = pytest.mark.long
NAME, ORIGIN = "Robot Pilot", "atlas.pilot"


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with IssuerProcess(tmp_path) as issuer:
        yield issuer


@pytest.fixture
def served(home_with: Callable[..., Home], cluster: Cluster, database_name: str, issuer: Issuer) -> Iterator[Home]:
    """A server whose pilots are service clients of a token issuer, and that keeps their token fresh."""
    home = home_with((cluster, database_name))
    clients = {
        "pilot_server": {
            "endpoint": f"{issuer.url}/token",
            "client_id": ROBOT,
            "secret": SECRET,
            "use_token_key": True,
        }
    }
    (home.path / "clients.json").write_text(json.dumps(clients))
    home.set("server", token_authType="oidc", token_cache_config=home.path / "clients.json")
    (home.path / "auth" / "atlas:pilot_auth_config.json").write_text(client_file(issuer, robot_ids=[ROBOT]))
    with home.server():
        yield home


def with_token(home: Home, token: str, **environ: str) -> Place:
    """A pilot that has nothing but a token."""
    (home.path / "token").write_text(token)
    told = {
        "PANDA_AUTH_TOKEN": str(home.path / "token"),
        "PANDA_AUTH_ORIGIN": ORIGIN,
        "SSL_CERT_FILE": str(home.path / "ca.pem"),
    }
    return Place(home=home.path, server=home.url, web=home.web, proxy="", environ={**told, **environ})


def submit(home: Home, source: Path, place: Place) -> int:
    transform = transformation(source, place, SCRIPT)
    options = ("--transformation", transform, "--output", "hello.txt", "--exec", "echo hello > hello.txt")
    done = home.command("job", "submit", "--queue", "LOCAL", *options)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def takes_a_job_to_finished(home: Home, tables: Tables, place: Place, directory: Path) -> str:
    """The pilot's log."""
    source = obtain(os.environ["PILOT"], CACHE)
    job = submit(home, source, place)
    until(lambda: tables.status(job) == "activated", "the job is activated")
    with Pilot(source, place, directory, heartbeat=5) as pilot:
        assert pilot.wait_for_jobs(1, 90) == {job: "finished"}, pilot.log
        ends_as(tables, job, "finished")
        told = pilot.log
    had = tables.history(job)
    assert had[-5:] == ["sent", "starting", "running", "holding", "finished"], had
    return told


def asked_as(home: Home, method: str) -> set[str]:
    """The names under which the access log has the calls of a method."""
    lines = home.processes[0].logged("panda_server_access_log").splitlines()
    return {line.rsplit('"', 2)[1] for line in lines if f"/server/panda/{method}" in line}


def test_a_pilot_takes_a_job_to_finished_with_a_token(served: Home, issuer: Issuer, tmp_path: Path) -> None:
    tables = served.tables()
    place = with_token(served, issuer.robots_token())
    takes_a_job_to_finished(served, tables, place, tmp_path / "pilot")
    for method in ("getJob", "updateJob"):
        assert asked_as(served, method) == {NAME}
    tables.close()


def test_a_pilot_takes_a_job_to_finished_with_a_token_that_it_refreshes(
    served: Home, issuer: Issuer, tmp_path: Path
) -> None:
    tables = served.tables()
    tables.query(
        "INSERT INTO doma_pandameta.users (id, name, dn, gridpref) VALUES (78, %(name)s, %(name)s, 'p')", name=NAME
    )
    kept = served.command("daemon", "run", "--config", served.config, "panda_activeusers_query")
    assert kept.returncode == 0, kept.stderr
    ((key,),) = tables.query("SELECT credname FROM doma_pandameta.proxykey WHERE dn = 'pilot_server'")
    (served.path / "key").write_text(key)
    first = issuer.robots_token(jti="first")
    place = with_token(served, first, PANDA_AUTH_TOKEN_KEY=str(served.path / "key"))
    until(lambda: knows(served, first, key), "the server knows the letter and the key")
    told = takes_a_job_to_finished(served, tables, place, tmp_path / "pilot")
    assert "OIDC token has been refreshed" in told
    refreshed = (served.path / "token").read_text()
    assert refreshed.count(".") == 2
    assert refreshed != first
    for method in ("get_access_token", "getJob", "updateJob"):
        assert asked_as(served, method) == {NAME}
    tables.close()


def knows(home: Home, token: str, key: str) -> bool:
    """Whether the pilot would be given a token: what is known of users is up to 20 s old."""
    connection = http.client.HTTPSConnection("localhost", home.https_port, timeout=20, context=tls(home.path, None))
    headers = {"Authorization": f"Bearer {token}", "Origin": ORIGIN}
    connection.request("GET", f"/server/panda/get_access_token?client_name=pilot_server&token_key={key}", None, headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return bool(answer["StatusCode"] == 0)
