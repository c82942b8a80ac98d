"""Sandboxes: touched when they are new, forgotten when they are gone (lifecycle.md 3.3, step 18)."""

import os
from datetime import timedelta

import pytest
from endings import run
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from pandatx.clients.sandboxes import AT_ONCE, HostAway
from pandatx.domain import sweep_files as rules
from pandatx.services.sweep_sandboxes import SandboxSweep

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


class Hosts:
    """Other hosts: what they have, which of them are away, what they were asked."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.away: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.at_once = self.most_at_once = 0

    async def exists(self, host: str, name: str) -> bool:
        self.asked.append((host, name))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        later: Deferred[None] = Deferred()
        reactor.callLater(0, later.callback, None)
        await later
        self.at_once -= 1
        if host in self.away:
            raise HostAway("no answer")
        return name in self.there

    touch = exists


async def no_pause() -> None:
    """Nobody else waits."""


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


@pytest.fixture
def sweep(database, now, hosts, tmp_path) -> SandboxSweep:
    (tmp_path / "cache").mkdir()
    return SandboxSweep(database, now, hosts, tmp_path / "cache", frozenset(("here",)))


async def seed(database, name, host, created, modified=None):
    await run(
        database,
        "INSERT INTO {meta}.usercacheusage (username, filename, hostname, creationtime, modificationtime)"
        " VALUES ('alice', %(n)s, %(h)s, %(c)s, %(m)s) RETURNING 1",
        n=name,
        h=host,
        c=created,
        m=modified,
    )


async def rows(database):
    return dict(await run(database, "SELECT filename, modificationtime FROM {meta}.usercacheusage"))


async def test_a_sandbox_of_less_than_a_day_that_nobody_has_touched_is_touched_once(database, now, hosts, sweep):
    young, old = now.now() - DAY + SECOND, now.now() - DAY
    await seed(database, "sources.young", "far", young, young)
    await seed(database, "jobO.young", "far", young)
    await seed(database, "sources.touched", "far", young, young + SECOND)
    await seed(database, "sources.old", "far", old, old)
    await seed(database, "other.young", "far", young, young)
    hosts.there = {"sources.young", "jobO.young"}
    assert await sweep.touch(no_pause) == 2
    assert sorted(hosts.asked) == [("far", "jobO.young"), ("far", "sources.young")]
    touched = {name for name, at in (await rows(database)).items() if at == now.now()}
    assert touched == {"sources.young", "jobO.young"}
    assert await sweep.touch(no_pause) == 0


async def test_what_could_not_be_touched_is_tried_again(database, now, hosts, sweep):
    await seed(database, "sources.x", "far", now.now(), now.now())
    hosts.away = {"far"}
    assert await sweep.touch(no_pause) == 0
    hosts.away, hosts.there = set(), {"sources.x"}
    assert await sweep.touch(no_pause) == 1


async def test_files_of_this_host_are_looked_up_on_its_disk(database, now, hosts, sweep, tmp_path):
    path = tmp_path / "cache" / "sources.mine"
    path.write_bytes(b"x")
    os.utime(path, (0, 0))
    await seed(database, "sources.mine", "here", now.now(), now.now())
    await seed(database, "sources.gone", "here", now.now(), now.now())
    assert await sweep.touch(no_pause) == 1
    assert path.stat().st_mtime > 1
    assert hosts.asked == []


async def test_a_sandbox_is_checked_when_nobody_has_looked_at_it_for_a_day(database, now, time, hosts, sweep):
    created = now.now() - 2 * DAY
    await seed(database, "sources.due", "far", created, now.now() - DAY - SECOND)
    await seed(database, "sources.undue", "far", created, now.now() - DAY)
    await seed(database, "sources.never", "far", created)
    await seed(database, "other.due", "far", created, created)
    hosts.there = {"sources.due"}
    assert await sweep.check(no_pause) == 1
    assert sorted(hosts.asked) == [("far", "sources.due"), ("far", "sources.never")]
    assert set(await rows(database)) == {"sources.due", "sources.undue", "other.due"}
    time.advance(86400)
    hosts.asked.clear()
    await sweep.check(no_pause)
    assert hosts.asked == [("far", "sources.undue")]


async def test_a_host_that_is_away_loses_its_sandboxes_after_thirty_days(database, now, time, hosts, sweep):
    await seed(database, "sources.old", "far", now.now() - 30 * DAY, now.now() - 2 * DAY)
    await seed(database, "sources.young", "far", now.now() - 30 * DAY + SECOND, now.now() - 2 * DAY)
    hosts.away = {"far"}
    assert await sweep.check(no_pause) == 1
    assert set(await rows(database)) == {"sources.young"}


async def test_a_host_that_does_not_answer_is_not_asked_for_each_of_its_files(database, now, hosts, sweep):
    for n in range(50):
        await seed(database, f"sources.{n}", "far", now.now() - 2 * DAY)
    await seed(database, "sources.x", "near", now.now() - 2 * DAY)
    hosts.away, hosts.there = {"far"}, {"sources.x"}
    assert await sweep.check(no_pause) == 0
    assert len([host for host, _ in hosts.asked if host == "far"]) <= AT_ONCE
    assert ("near", "sources.x") in hosts.asked


async def test_only_so_many_are_asked_at_a_time(database, now, hosts, sweep):
    for n in range(30):
        await seed(database, f"sources.{n}", f"far{n}", now.now() - 2 * DAY)
    await sweep.check(no_pause)
    assert hosts.most_at_once == AT_ONCE


async def test_names_that_are_no_files_and_no_hosts_are_never_asked_for(database, now, hosts, sweep, tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    for n, (name, host) in enumerate((("sources/../../secret", "here"), ("sources.x", "far/x"), ("sources.y", "a@b"))):
        await seed(database, name, host, now.now() - (31 if n else 2) * DAY)
    assert await sweep.check(no_pause) == 3
    assert hosts.asked == []


async def test_without_the_cache_nothing_is_known_of_its_files_and_other_hosts_are_asked(
    database, now, hosts, sweep, tmp_path
):
    (tmp_path / "cache").rmdir()
    await seed(database, "sources.x", "here", now.now() - 32 * DAY)
    await seed(database, "sources.y", "far", now.now() - 31 * DAY)
    await sweep.check(no_pause)
    assert "sources.x" in await rows(database)
    assert hosts.asked


async def test_a_file_of_ours_that_cannot_be_touched_stops_no_other(database, now, hosts, sweep, tmp_path, monkeypatch):
    utime = os.utime

    def touch(path, **options):
        if path.name == "sources.x":
            raise PermissionError(path)
        utime(path, **options)

    monkeypatch.setattr(os, "utime", touch)
    for n, name in enumerate(("sources.x", "sources.y")):
        (tmp_path / "cache" / name).write_bytes(b"")
        await seed(database, name, "here", now.now() - timedelta(hours=2 - n))
    assert await sweep.touch(no_pause) == 1
    assert (await rows(database))["sources.x"] is None


async def test_rounds_go_on_until_one_is_not_full(database, now, hosts, sweep, monkeypatch):
    monkeypatch.setattr(rules, "ROUND", 10)
    for n in range(25):
        await seed(database, f"sources.{n}", "far", now.now() - 2 * DAY)
    assert await sweep.check(no_pause) == 25
    for n in range(25):
        await seed(database, f"sources.{n}", "far", now.now())
        hosts.there.add(f"sources.{n}")
    assert await sweep.touch(no_pause) == 25


async def test_at_most_a_hundred_rounds_are_made(database, now, hosts, sweep, monkeypatch):
    monkeypatch.setattr(rules, "ROUND", 1)
    monkeypatch.setattr(rules, "ROUNDS", 3)
    for n in range(5):
        await seed(database, f"sources.{n}", "far", now.now() - 2 * DAY)
    assert await sweep.check(no_pause) == 3
