"""The book of sandboxes, and files that come in: what is noted, under which names, and what is not."""

import gzip
import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_twisted
from endings import run
from twisted.internet.defer import Deferred, gatherResults

from pandatx.domain.caller import Caller
from pandatx.domain.file_requests import CannotOverwrite, CannotWrite, Placed, Uploaded
from pandatx.errors import DatabaseAway, NameTaken
from pandatx.services.owners import Owners
from pandatx.services.sandboxes import SandboxBook
from pandatx.services.uploads import LEFT_BY_A_CRASH, Uploads
from pandatx.store import sandbox_notes

USER = Caller(dn="/CN=user", name="user", how="x509")


def book_of(database, clock, folder: Path) -> SandboxBook:
    (folder / "cache").mkdir(exist_ok=True)
    return SandboxBook(
        database,
        clock,
        Owners(database, clock),
        "here",
        frozenset(("here", "alias")),
        folder / "cache",
        folder / "notes",
    )


@pytest_twisted.async_fixture
async def book(database, now, tmp_path) -> SandboxBook:
    await run(database, "SELECT 1")  # it is up
    return book_of(database, now, tmp_path)


class Away:
    """A database that is there, and goes with the next word."""

    up = True

    async def limited(self, *args):
        raise DatabaseAway


def came(folder: Path, content: bytes = b"content of a file", name: str = "sources.1") -> Uploaded:
    path = folder / "incoming"
    path.write_bytes(content)
    return Uploaded(name=name, path=path, size=len(content), tail=content[-8:])


async def rows(database):
    return await run(database, "SELECT username, filename, hostname, filesize FROM {meta}.usercacheusage ORDER BY 2, 3")


def entry(now, name="sources.1", owner="user", size=1, host="here"):
    return Placed(owner=owner, name=name, host=host, size=size, checksum="7", created=now.now())


async def test_a_file_that_came_again_is_noted_once(database, now, time, book):
    await book.note(entry(now))
    time.advance(60)
    await book.note(entry(now, owner="other", size=2))
    await book.note(entry(now, host="there"))
    assert await rows(database) == [("other", "sources.1", "here", 2), ("user", "sources.1", "there", 1)]


async def test_notes_survive_the_process_and_are_played_by_the_next(database, now, tmp_path, book, monkeypatch):
    monkeypatch.setattr(type(database), "up", property(lambda self: False))
    await book.note(entry(now))
    await book.note(entry(now, name="sources.2"))
    assert await book.play() == 0
    monkeypatch.undo()
    again = book_of(database, now, tmp_path)
    assert await again.play() == 2
    assert len(await rows(database)) == 2
    assert await again.play() == 0
    assert list((tmp_path / "notes").iterdir()) == []


async def test_a_note_that_is_played_late_does_not_hide_a_newer_file(database, now, time, tmp_path, book):
    older = entry(now)
    time.advance(60)
    await book.note(entry(now, owner="newer"))
    sandbox_notes.keep(tmp_path / "notes", older)
    assert await book.play() == 1
    assert await book.owner_of("sources.1") == "newer"
    assert len(await rows(database)) == 1


async def test_of_several_notes_the_newest_counts_also_before_they_are_played(database, now, time, tmp_path, book):
    for n in range(6):
        time.advance(1)
        sandbox_notes.keep(tmp_path / "notes", entry(now, owner=f"owner {n}"))
    assert await book.owner_of("sources.1") == "owner 5"
    assert await book.play() == 6
    assert [row[0] for row in await rows(database)] == ["owner 5"]


async def test_a_note_that_cannot_be_taken_is_kept_aside_and_stops_no_other(database, now, tmp_path, book):
    sandbox_notes.keep(tmp_path / "notes", entry(now, owner="x" * 200))
    sandbox_notes.keep(tmp_path / "notes", entry(now, name="sources.2"))
    (tmp_path / "notes" / "0torn.json").write_bytes(b"{")
    assert await book.play() == 1
    assert len(await rows(database)) == 1
    assert sorted(path.suffix for path in (tmp_path / "notes").iterdir()) == [".refused", ".refused"]
    assert await book.play() == 0


async def test_what_the_database_refuses_for_now_is_noted_later_and_stops_no_other(database, now, time, tmp_path, book):
    table = "ALTER TABLE {meta}.usercacheusage"
    await run(database, f"{table} ADD CONSTRAINT no_partition CHECK (filename <> 'sources.1'); SELECT 1")
    await Uploads(tmp_path / "cache", book, now).put(USER, came(tmp_path), "sources.1")
    assert await book.owner_of("sources.1") == "user"
    sandbox_notes.keep(tmp_path / "notes", entry(now, name="sources.2"))
    assert await book.play() == 1
    assert [row[1] for row in await rows(database)] == ["sources.2"]
    await run(database, f"{table} DROP CONSTRAINT no_partition; SELECT 1")
    for seconds, played in ((59, 0), (1, 1)):
        time.advance(seconds)
        assert await book.play() == played
    assert [row[1] for row in await rows(database)] == ["sources.1", "sources.2"]


async def test_a_database_that_goes_while_notes_are_played_loses_none(database, now, tmp_path, book, monkeypatch):
    sandbox_notes.keep(tmp_path / "notes", entry(now))
    monkeypatch.setattr(book, "_database", Away())
    assert await book.play() == 0
    monkeypatch.undo()
    assert await book.play() == 1


async def test_files_of_other_hosts_are_known_the_newest_first(database, now, time, book):
    for host in ("there", "here", "alias", "localhost.localdomain", "newer"):
        await book.note(entry(now, host=host))
        time.advance(1)
    assert [placed.host for placed in await book.elsewhere("sources.1")] == ["newer", "there"]
    assert await book.elsewhere("sources.2") == []


async def test_names_that_an_operator_lists_are_kept_as_gzip_files(database, now, tmp_path, book):
    uploads = Uploads(tmp_path / "cache", book, now, (re.compile("^jobO"), re.compile(r"\.log$")))
    await uploads.put(USER, came(tmp_path), "a.log")
    packed = (tmp_path / "cache" / "a.log").read_bytes()
    assert gzip.decompress(packed) == b"content of a file"
    assert await rows(database) == [("user", "a.log", "here", len(packed))]
    await uploads.put(USER, came(tmp_path), "sources.1")
    assert (tmp_path / "cache" / "sources.1").read_bytes() == b"content of a file"


async def test_nothing_is_noted_where_an_operator_wants_nothing_noted(database, now, tmp_path, book):
    await Uploads(tmp_path / "cache", book, now, recorded=False).put(USER, came(tmp_path), "sources.1")
    assert (tmp_path / "cache" / "sources.1").exists()
    assert await rows(database) == []


async def test_a_file_that_is_there_counts_although_it_cannot_be_noted(database, now, tmp_path, book, monkeypatch):
    def full(*args):
        raise OSError("full")

    monkeypatch.setattr(type(database), "up", property(lambda self: False))
    monkeypatch.setattr(sandbox_notes, "keep", full)
    await Uploads(tmp_path / "cache", book, now).put(USER, came(tmp_path), "sources.1")
    assert (tmp_path / "cache" / "sources.1").exists()


async def test_a_cache_that_is_not_there_is_told(database, now, tmp_path, book):
    with pytest.raises(CannotWrite, match="ERROR: cannot write file"):
        await Uploads(tmp_path / "none", book, now).put(USER, came(tmp_path), "sources.1")


async def test_a_start_removes_what_a_crash_left_a_day_ago(now, time, tmp_path, book):
    incoming = tmp_path / "cache" / ".incoming"
    incoming.mkdir()
    for name, age in (("old", LEFT_BY_A_CRASH + 1), ("young", LEFT_BY_A_CRASH - 1)):
        (incoming / name).write_bytes(b"x")
        then = (now.now() - timedelta(seconds=age)).timestamp()
        os.utime(incoming / name, (then, then))
    await Uploads(tmp_path / "cache", book, now).tidy()
    assert [path.name for path in incoming.iterdir()] == ["young"]


async def test_a_start_does_not_fail_over_a_cache_that_cannot_be_read(now, tmp_path, book):
    (tmp_path / "cache" / ".incoming").write_bytes(b"a file where a folder should be")
    await Uploads(tmp_path / "cache", book, now).tidy()


async def test_a_refused_file_leaves_nothing_where_names_are_kept_as_gzip_files(database, now, tmp_path, book):
    uploads = Uploads(tmp_path / "cache", book, now, (re.compile("^jobO"),))
    incoming = tmp_path / "cache" / ".incoming"
    incoming.mkdir()
    await uploads.put(USER, came(incoming), "jobO.1")
    with pytest.raises(CannotOverwrite):
        await uploads.put(USER, came(incoming), "jobO.1")
    (tmp_path / "cache" / "jobO.2").mkdir()
    with pytest.raises(CannotOverwrite):
        await uploads.put(USER, came(incoming), "jobO.2")
    assert list(incoming.iterdir()) == []


async def test_of_two_who_send_one_name_at_once_the_second_does_not_take_the_place_of_the_first(
    database, now, tmp_path, book
):
    uploads = Uploads(tmp_path / "cache", book, now)
    sent = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        sent[name] = came(tmp_path / name, name.encode())

    async def put(name):
        try:
            await uploads.put(Caller(dn=f"/CN={name}", name=name, how="x509"), sent[name], "a.__ow__")
        except CannotOverwrite:
            return None
        return name

    kept = await gatherResults([Deferred.fromCoroutine(put(name)) for name in sent])
    assert kept.count(None) == 1
    assert (tmp_path / "cache" / "a.__ow__").read_text() in kept


async def test_a_host_whose_name_the_database_cannot_hold_takes_files_all_the_same(database, now, tmp_path, book):
    book.host = f"panda-0.{'x' * 60}.svc.cluster.local"
    book.own_hosts = frozenset((book.host,))
    await Uploads(tmp_path / "cache", book, now).put(USER, came(tmp_path), "sources.1")
    assert (tmp_path / "cache" / "sources.1").exists()
    assert await book.owner_of("sources.1") == "user"


async def test_a_note_that_cannot_be_read_or_was_taken_by_another_process_stops_no_other(database, now, tmp_path, book):
    sandbox_notes.keep(tmp_path / "notes", entry(now))
    (tmp_path / "notes" / "0.json").mkdir()
    assert await book.play() == 1
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["0.json"]
    sandbox_notes.set_aside(tmp_path / "notes" / "gone.json")


async def test_a_file_of_whom_the_name_is_not_does_not_stay(database, now, tmp_path, book):
    uploads = Uploads(tmp_path / "cache", book, now)
    namesake = Caller(dn="/CN=another/CN=user", name="user", how="x509")
    await uploads.put(USER, came(tmp_path), "sources.1")
    with pytest.raises(NameTaken):
        await uploads.put(namesake, came(tmp_path), "sources.2")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["sources.1"]
    assert len(await rows(database)) == 1


async def test_nobody_becomes_a_namesake_by_what_he_sends_without_a_database(
    database, now, tmp_path, book, monkeypatch
):
    uploads = Uploads(tmp_path / "cache", book, now)
    namesake = Caller(dn="/CN=another/CN=user", name="user", how="x509")
    await uploads.put(USER, came(tmp_path), "sources.1")
    monkeypatch.setattr(type(database), "up", property(lambda self: False))
    await uploads.put(namesake, came(tmp_path), "sources.2")
    await uploads.put(USER, came(tmp_path), "sources.3")
    monkeypatch.undo()
    assert await book_of(database, now, tmp_path).play() == 1
    assert [row[1] for row in await rows(database)] == ["sources.1", "sources.3"]


async def test_nothing_stays_of_a_note_that_finds_no_room(now, tmp_path, monkeypatch):
    def full(handle):
        raise OSError("full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        sandbox_notes.keep(tmp_path / "notes", entry(now))
    assert list((tmp_path / "notes").iterdir()) == []
