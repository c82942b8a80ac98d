"""Whole servers: folders and processes that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from panda_client import RELEASES, Release
from server import Home, Process

from pandatx.store.cluster import Cluster
from pandatx.store.home import DATABASE


@pytest.fixture
def home_with(tmp_path: Path) -> Iterator[Callable[..., Home]]:
    """Makes a folder for a server, with the arguments of ``Home.make``."""
    made: list[Home] = []

    def make(database: tuple[Cluster, str] | None = None, **sections: Any) -> Home:
        home = Home.make(tmp_path / f"panda{len(made)}", database, **sections)
        made.append(home)
        return home

    yield make
    for home in made:
        home.end()


@pytest.fixture
def home(home_with: Callable[..., Home], cluster: Cluster, database_name: str) -> Home:
    """A folder for a server with a database of its own on the run's cluster; no server is started."""
    return home_with((cluster, database_name))


@pytest.fixture
def server(home: Home) -> Process:
    """A server that is up."""
    return home.server().start()


@pytest.fixture
def frail(home_with: Callable[..., Home]) -> Iterator[tuple[Home, Cluster]]:
    """A folder for a server, and its own durable PostgreSQL, which the test may kill."""
    cluster = Cluster(durable=True)
    cluster.start()
    home = home_with((cluster, DATABASE))
    made = home.command("db", "upgrade", "--config", home.config)
    assert made.returncode == 0, made.stderr
    yield home, cluster
    for process in home.processes:
        process.kill()
    cluster.stop()


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> Release:
    """Each way in which a panda-client speaks HTTP."""
    return RELEASES[request.param]
