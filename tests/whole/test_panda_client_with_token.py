"""The unmodified panda-client gets a token by the device flow, uses it, and refreshes it (reference/clients.md 1)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from issuer import Issuer, IssuerProcess, asked_of, client_file
from panda_client import PandaClient, Release
from server import Home

from pandatx.store.cluster import Cluster

pytestmark = pytest.mark.long
KEPT = [0, [True, None]]
SCRIPT = """
import json, sys
from pandaclient import Client
status, found = getattr(Client, sys.argv[1])(*sys.argv[2:])
print("ANSWER", json.dumps([status, found]))
"""


@pytest.fixture
def lifetime() -> int:
    return 3600


@pytest.fixture
def issuer(tmp_path: Path, lifetime: int) -> Iterator[Issuer]:
    with IssuerProcess(tmp_path, lifetime) as issuer:
        yield issuer


@pytest.fixture
def served(home_with: Callable[..., Home], cluster: Cluster, database_name: str, issuer: Issuer) -> Iterator[Home]:
    home = home_with((cluster, database_name), server={"token_authType": "oidc"})
    for name in ("atlas", "atlas:pilot"):
        (home.path / "auth" / f"{name}_auth_config.json").write_text(client_file(issuer))
    with home.server():
        yield home


def call(client: PandaClient, *words: str, stdin: str = "") -> object:
    """What a function of the client returned; ``stdin`` answers the question whether one has signed in."""
    done = client.run("python", "-W", "ignore", "-c", SCRIPT, *words, stdin=stdin)
    assert "ANSWER" in done.stdout, f"{done.stdout}\n{done.stderr[-3000:]}"
    return json.loads(done.stdout.rpartition("ANSWER")[2])


def flows(issuer: Issuer) -> list[str]:
    """What clients asked the issuer to grant."""
    return [asked for asked in asked_of(issuer) if asked.startswith(("/device", "/token"))]


@pytest.mark.parametrize("vo", ["atlas", "atlas:pilot"])
def test_a_user_signs_in_once_by_the_device_flow(
    served: Home, issuer: Issuer, release: Release, tmp_path: Path, vo: str
) -> None:
    client = PandaClient.with_token(release, served, tmp_path / "work", None, vo)
    assert call(client, "set_user_secret", "colour", "green", stdin="y\n") == KEPT
    granted = ["/device", *["/token urn:ietf:params:oauth:grant-type:device_code"] * 2]
    assert flows(issuer) == granted, "once pending, then given"
    assert call(client, "get_user_secrets") == [0, [True, {"colour": "green"}]]
    assert flows(issuer) == granted, "the token is kept"
    tables = served.tables()
    assert tables.query("SELECT owner FROM secrets") == [("Jane Roe",)]
    tables.close()


@pytest.mark.parametrize("lifetime", [200])
def test_a_token_that_ends_soon_is_refreshed_without_a_question(
    served: Home, issuer: Issuer, release: Release, tmp_path: Path, lifetime: int
) -> None:
    client = PandaClient.with_token(release, served, tmp_path / "work", None, "atlas")
    call(client, "set_user_secret", "colour", "green", stdin="y\n")
    before = flows(issuer)
    for _ in range(2):
        assert call(client, "set_user_secret", "colour", "blue") == KEPT
    assert flows(issuer)[len(before) :] == ["/token refresh_token"] * 2
    assert asked_of(issuer).count("/jwks") == 1, "the server knew the issuer's keys"


def test_a_token_that_somebody_gives_the_client_is_used_as_it_is(
    served: Home, issuer: Issuer, release: Release, tmp_path: Path
) -> None:
    client = PandaClient.with_token(release, served, tmp_path / "work", issuer.token(), "atlas")
    assert call(client, "set_user_secret", "colour", "red") == KEPT
    assert flows(issuer) == []
    expired = PandaClient.with_token(release, served, tmp_path / "late", issuer.token(exp=1), "atlas")
    refused = expired.run("python", "-W", "ignore", "-c", SCRIPT, "set_user_secret", "colour", "x")
    assert "Token authentication failed" in refused.stdout + refused.stderr
    assert "Signature has expired" in refused.stdout + refused.stderr
