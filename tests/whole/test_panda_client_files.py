"""Sandboxes of the unmodified panda-client: sent, used again, fetched, kept through an outage (clients.md 2 to 4)."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from panda_client import PandaClient, Release
from server import Home, until

from pandatx.store.cluster import Cluster

pytestmark = pytest.mark.long
MIB = 1 << 20


@pytest.fixture
def served(home: Home) -> Iterator[Home]:
    with home.server():
        yield home


@pytest.fixture
def client(served: Home, release: Release, tmp_path: Path) -> PandaClient:
    return PandaClient.without_grid(release, served, tmp_path / "work")


def pack(client: PandaClient, name: str, content: bytes = b"int main() {}") -> str:
    """A sandbox as prun makes it."""
    (client.directory / name).write_bytes(gzip.compress(content, mtime=0))
    return str(client.directory / name)


def test_a_sandbox_comes_back_as_it_was_sent(client: PandaClient) -> None:
    path = pack(client, "sources.1.tar.gz", os.urandom(3 * MIB))
    assert client.call("putFile", path) == [0, "True"]
    assert client.call("getFile", "sources.1.tar.gz", output_path="back") == [0, True]
    assert (client.directory / "back").read_bytes() == Path(path).read_bytes()
    assert client.call("putFile", path) == [0, "ERROR: cannot overwrite file"]
    status, told = client.call("getFile", "sources.none.tar.gz", output_path="none")
    assert status != 0, told


def test_a_sandbox_that_was_sent_before_is_used_again(client: PandaClient) -> None:
    first = pack(client, "jobO.1.tar.gz")
    again, other = pack(client, "jobO.2.tar.gz"), pack(client, "jobO.3.tar.gz", b"something else")
    assert client.call("putFile", first, reuseSandbox=True) == [0, "True"]
    assert client.call("putFile", again, reuseSandbox=True) == [0, "NewFileName:jobO.1.tar.gz"]
    assert client.call("putFile", other, reuseSandbox=True) == [0, "True"]
    assert not (client.home.path / "cache" / "jobO.2.tar.gz").exists()


def test_another_users_sandbox_is_not_used(served: Home, release: Release, tmp_path: Path) -> None:
    one = PandaClient.without_grid(release, served, tmp_path / "one")
    two = PandaClient.without_grid(release, served, tmp_path / "two", certificate="production.pem")
    assert one.call("putFile", pack(one, "jobO.1.tar.gz"), reuseSandbox=True) == [0, "True"]
    assert two.call("putFile", pack(two, "jobO.2.tar.gz"), reuseSandbox=True) == [0, "True"]


def test_what_a_user_is_told_to_use_is_found_where_it_is_said_to_be(client: PandaClient) -> None:
    path = pack(client, "sources.1.tar.gz")
    client.call("putFile", path, reuseSandbox=True)
    tables = client.home.tables()
    assert tables.query("SELECT username, filename, hostname FROM doma_pandameta.usercacheusage") == [
        ("user", "sources.1.tar.gz", socket.getfqdn())
    ]
    tables.close()


@pytest.mark.parametrize("release", ["httpx"], indirect=True)
def test_a_sandbox_is_sent_while_the_database_is_away(
    frail: tuple[Home, Cluster], release: Release, tmp_path: Path
) -> None:
    home, cluster = frail
    client = PandaClient.without_grid(release, home, tmp_path / "work")
    with home.server():
        assert client.call("putFile", pack(client, "jobO.1.tar.gz"), reuseSandbox=True) == [0, "True"]
        cluster.kill()
        path = pack(client, "jobO.2.tar.gz", b"something else")
        assert client.call("putFile", path, reuseSandbox=True) == [0, "True"]
        assert client.call("getFile", "jobO.2.tar.gz", output_path="back") == [0, True]
    cluster.start()
    with home.server():
        tables = home.tables()
        noted = "SELECT count(*) FROM doma_pandameta.usercacheusage"
        until(lambda: tables.scalar(noted) == 2, "the book is whole after a restart")
        tables.close()
        again = pack(client, "jobO.3.tar.gz", b"something else")
        assert client.call("putFile", again, reuseSandbox=True) == [0, "NewFileName:jobO.2.tar.gz"]
