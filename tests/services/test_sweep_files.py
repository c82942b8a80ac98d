"""Cleaning directories: what goes, what stays, and nothing outside of them."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from twisted.internet import reactor, task

from pandatx.clock import Clock
from pandatx.errors import BadArguments
from pandatx.scheduler.context import Context, RunStopped
from pandatx.scheduler.daemons.tmpwatch import TmpWatch
from pandatx.services import sweep_files
from pandatx.services.sweep_files import FileSweep


async def no_pause() -> None:
    """Nobody else waits."""


@pytest.fixture
def now() -> Clock:
    return Clock(reactor, Clock.manual(task.Clock()).now)


def put(path: Path, age: timedelta, now: Clock, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    seconds = (now.now() - age).timestamp()
    os.utime(path, (seconds, seconds))
    return path


@pytest.fixture
def sweep(tmp_path, now) -> FileSweep:
    (tmp_path / "cache").mkdir()
    (tmp_path / "logs").mkdir()
    return FileSweep(now, tmp_path / "cache", tmp_path / "logs")


WEEK = timedelta(days=7)


async def test_files_of_the_cache_go_after_seven_days(tmp_path, now, sweep):
    cache = tmp_path / "cache"
    old = put(cache / "sources.a.tar.gz", WEEK, now)
    young = put(cache / "sources.b.tar.gz", WEEK - timedelta(seconds=1), now)
    kept = put(cache / "sources.72c48dc5-f055-43e5-a86e-4ae9f8ea3497.tar.gz", WEEK * 9, now)
    also = put(cache / "sources.090f3f51-fc81-4e80-9749-a5e4b2bd58de.tar.gz", WEEK * 9, now)
    assert await sweep.clean_cache(no_pause) == 1
    assert [path.exists() for path in (old, young, kept, also)] == [False, True, True, True]


async def test_logs_of_tasks_go_after_ninety_days(tmp_path, now, sweep):
    logs = tmp_path / "cache" / "jedilog"
    old = put(logs / "1.log", timedelta(days=90), now)
    young = put(logs / "2.log", timedelta(days=90) - timedelta(seconds=1), now)
    deeper = put(logs / "folder" / "3.log", WEEK * 99, now)
    (logs / "link").symlink_to(put(tmp_path / "else" / "4.log", WEEK * 99, now))
    assert await sweep.clean_logs(no_pause) == 1
    assert [path.exists() for path in (old, young, deeper, logs / "link")] == [False, True, True, True]
    logs.rename(tmp_path / "elsewhere")
    logs.symlink_to(tmp_path / "else")
    assert await sweep.clean_logs(no_pause) == 0
    assert "old logs of tasks" in [step.name for step in sweep.steps()]


async def test_directories_and_links_of_the_cache_stay_with_what_is_behind_them(tmp_path, now, sweep):
    outside = put(tmp_path / "else" / "precious", WEEK * 9, now)
    below = put(tmp_path / "cache" / "jedilog" / "a.log", WEEK * 9, now)
    link, folder = tmp_path / "cache" / "link", tmp_path / "cache" / "folder"
    link.symlink_to(outside)
    folder.symlink_to(outside.parent)
    for each in (link, folder):
        os.utime(each, (0, 0), follow_symlinks=False)
    os.mkfifo(tmp_path / "cache" / "pipe")
    os.utime(tmp_path / "cache" / "pipe", (0, 0))
    assert await sweep.clean_cache(no_pause) == 0
    assert outside.exists() and below.exists() and link.is_symlink() and folder.is_symlink()


async def test_core_dumps_beside_the_logs_go_and_nothing_else(tmp_path, now, sweep):
    core = put(tmp_path / "core.1234", timedelta(0), now)
    dump = put(tmp_path / "core.twistd.host.1", timedelta(0), now, b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\x00")
    source = put(tmp_path / "core.py", WEEK * 9, now)
    deeper = put(tmp_path / "logs" / "core.77", timedelta(0), now)
    (tmp_path / "core.99").symlink_to(source)
    assert await sweep.remove_cores(no_pause) == 2
    assert not core.exists() and not dump.exists()
    assert source.exists() and deeper.exists() and (tmp_path / "core.99").is_symlink()


async def test_a_directory_that_is_not_there_has_nothing_to_clean(tmp_path, now):
    assert await FileSweep(now, tmp_path / "none", tmp_path / "none" / "logs").clean_cache(no_pause) == 0


async def test_a_large_directory_is_cleaned_in_slices(tmp_path, now, sweep, monkeypatch):
    monkeypatch.setattr(sweep_files, "SLICE", 10)
    for n in range(35):
        put(tmp_path / "cache" / f"sources.{n}", WEEK, now)
    pauses = []

    async def pause() -> None:
        pauses.append(1)

    assert await sweep.clean_cache(pause) == 35
    assert len(pauses) == 3
    assert not list((tmp_path / "cache").iterdir())


async def test_a_run_that_is_to_end_ends_between_two_slices(tmp_path, now, sweep, monkeypatch):
    monkeypatch.setattr(sweep_files, "SLICE", 10)
    for n in range(30):
        put(tmp_path / "cache" / f"sources.{n}", WEEK, now)

    async def pause() -> None:
        raise RunStopped("enough")

    with pytest.raises(RunStopped):
        await sweep.clean_cache(pause)
    assert len(list((tmp_path / "cache").iterdir())) == 20


# tmpwatch

TWELVE = timedelta(hours=12)


async def watch(place, now, *arguments) -> Context:
    context = Context(now, "tmpwatch", arguments)
    assert await TmpWatch((str(place),)).run(context) is False
    return context


async def test_temporary_files_go_after_twelve_hours(tmp_path, now):
    old = put(tmp_path / "tmp1", TWELVE, now)
    young = put(tmp_path / "tmp2", TWELVE - timedelta(seconds=1), now)
    other = put(tmp_path / "data1", TWELVE * 9, now)
    assert (await watch(tmp_path, now)).counts["removed"] == 1
    assert (old.exists(), young.exists(), other.exists()) == (False, True, True)


async def test_a_place_of_another_user_stops_no_other(tmp_path, now, monkeypatch):
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    old, opens = put(tmp_path / "ours" / "tmp1", TWELVE, now), os.open

    def refuse(path, *args, **options):
        if str(path).endswith("theirs"):
            raise PermissionError(path)
        return opens(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    context = Context(now, "tmpwatch", ())
    assert await TmpWatch((str(tmp_path / "theirs"), str(tmp_path / "ours"))).run(context) is False
    assert not old.exists()


@pytest.mark.parametrize("arguments", [("-h", 2), ("-h", "2"), ("-h2",), ("-h", 2.0)])
async def test_the_hours_are_an_argument_as_text_or_as_number(tmp_path, now, arguments):
    old = put(tmp_path / "tmp1", timedelta(hours=2), now)
    young = put(tmp_path / "tmp2", timedelta(hours=2, seconds=-1), now)
    await watch(tmp_path, now, *arguments)
    assert (old.exists(), young.exists()) == (False, True)


async def test_a_test_removes_nothing_and_counts(tmp_path, now):
    old = put(tmp_path / "tmp1", TWELVE, now)
    assert (await watch(tmp_path, now, "-t")).counts["would be removed"] == 1
    assert old.exists()


async def test_links_and_directories_stay(tmp_path, now):
    (tmp_path / "tmpdir").mkdir()
    (tmp_path / "tmplink").symlink_to(put(tmp_path / "else", TWELVE * 9, now))
    assert (await watch(tmp_path, now, "-h", 0)).counts["removed"] == 0
    assert (tmp_path / "tmpdir").exists() and (tmp_path / "else").exists() and (tmp_path / "tmplink").is_symlink()


async def test_files_of_others_stay(tmp_path, now, monkeypatch):
    theirs = put(tmp_path / "tmp1", TWELVE * 9, now)
    monkeypatch.setattr(os, "geteuid", lambda: theirs.stat().st_uid + 1)
    assert (await watch(tmp_path, now)).counts["removed"] == 0
    assert theirs.exists()


async def test_a_place_that_is_a_link_is_not_gone_into(tmp_path, now):
    old = put(tmp_path / "home" / "tmp1", TWELVE * 9, now)
    (tmp_path / "place").symlink_to(tmp_path / "home")
    await watch(tmp_path / "place", now)
    assert old.exists()


@pytest.mark.parametrize(
    "arguments", [("-h",), ("-h", "soon"), ("-x",), ("more",), ("-h", -1), ("-h", "nan"), ("-h", "1e99"), (None,)]
)
async def test_bad_arguments_are_an_error_of_this_daemon_and_no_exit(tmp_path, now, arguments):
    with pytest.raises(BadArguments, match="tmpwatch"):
        await watch(tmp_path, now, *arguments)


def test_the_places_are_those_of_the_guide():
    assert TmpWatch()._places == ("/tmp", "/tmp/atlpan", "/tmp/pansrv")
