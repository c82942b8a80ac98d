"""Final reports outlive the database, the process and a torn write."""

import os
import resource
import signal
from datetime import UTC, datetime
from pathlib import Path

import attrs
import psycopg2
import pytest
from twisted.internet.defer import Deferred, gatherResults

from pandatx.domain.caller import Caller
from pandatx.domain.requests import Heartbeat, Reply
from pandatx.errors import Busy, DatabaseAway
from pandatx.services.spooling import Spooler
from pandatx.store import spool

PILOT = Caller(dn="/CN=pilot", name="pilot", how="x509", pilot=True, working_groups=("a", "b"))


class Played:
    def __init__(self) -> None:
        self.beats: list[tuple[Caller, Heartbeat]] = []
        self.faults: dict[int, Exception] = {}

    async def __call__(self, caller: Caller, beat: Heartbeat) -> Reply:
        if beat.job_id in self.faults:
            raise self.faults[beat.job_id]
        self.beats.append((caller, beat))
        return Reply()


def final(job_id: int) -> Heartbeat:
    return Heartbeat(
        job_id=job_id,
        job_status="finished",
        attempt_nr=1,
        job_output_report='{"x": 1}',
        end_time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        mean_core_count=1.5,
    )


@pytest.fixture
def played() -> Played:
    return Played()


@pytest.fixture
def spooler(tmp_path: Path, played: Played):
    made = Spooler(tmp_path / "spool", "here-1", played)
    made.open()
    yield made
    made.close()


async def test_what_is_spooled_is_played_as_it_was_reported(spooler, played):
    await gatherResults([spooler.add(PILOT, final(n)) for n in range(1, 6)])
    assert spooler.pending == 5
    assert await spooler.play() == 5
    assert played.beats == [(PILOT, final(n)) for n in range(1, 6)]
    assert (spooler.pending, spooler.size) == (0, 0)
    assert await spooler.play() == 0


async def test_it_survives_the_process(tmp_path, played):
    first = Spooler(tmp_path / "spool", "here-1", played)
    first.open()
    await first.add(PILOT, final(1))
    os.close(first._ours._lock)  # the process is gone, its directory stays as it is
    gone: list[str] = []

    async def tell(instances) -> None:
        gone.extend(instances)

    second = Spooler(tmp_path / "spool", "here-2", played, gone=tell)
    second.open()
    assert await second.play() == 1
    assert gone == ["here-1"]
    assert [beat.job_id for _, beat in played.beats] == [1]
    assert not (tmp_path / "spool" / "here-1").exists()
    second.close()


async def test_a_directory_that_is_held_is_left_alone(tmp_path, spooler, played):
    await spooler.add(PILOT, final(1))
    other = Spooler(tmp_path / "spool", "here-2", played)
    other.open()
    assert await other.play() == 0
    other.close()
    assert await spooler.play() == 1


async def test_without_a_database_everything_stays(spooler, played):
    await gatherResults([spooler.add(PILOT, final(n)) for n in (1, 2)])
    played.faults[2] = DatabaseAway()
    assert await spooler.play() == 0
    assert spooler.pending == 2
    played.faults.clear()
    played.beats.clear()
    assert await spooler.play() == 2


async def test_a_refused_record_goes_aside_and_blocks_nothing(tmp_path, spooler, played):
    await gatherResults([spooler.add(PILOT, final(n)) for n in (1, 2, 3)])
    played.faults[2] = psycopg2.DataError("no")
    assert await spooler.play() == 3
    assert [beat.job_id for _, beat in played.beats] == [1, 3]
    (kept,) = (tmp_path / "refused").iterdir()
    assert b'"job_id":2' in kept.read_bytes()


async def test_a_torn_last_record_is_dropped(spooler, played):
    await spooler.add(PILOT, final(1))
    spooler._ours.end_segment()
    (segment,) = spooler._ours.segments()
    whole = segment.read_bytes()
    segment.write_bytes(whole + whole[: len(whole) // 2])
    assert len(list(spool.read(segment))) == 1
    assert await spooler.play() == 1


async def test_reports_that_come_while_it_plays_are_kept(spooler, played):
    await spooler.add(PILOT, final(1))
    playing = Deferred.fromCoroutine(spooler.play())
    await spooler.add(PILOT, final(2))
    await playing
    await spooler.play()
    assert sorted(beat.job_id for _, beat in played.beats) == [1, 2]


async def test_a_report_or_a_spool_that_is_too_large_is_refused(tmp_path, played):
    small = Spooler(tmp_path / "spool", "here-1", played, report_limit=2000, total_limit=1000)
    small.open()
    await small.add(PILOT, final(1))
    with pytest.raises(Busy):
        for n in range(2, 9):
            await small.add(PILOT, final(n))
    large = Heartbeat(job_id=1, job_status="failed", job_output_report="x" * 3000)
    with pytest.raises(Busy):
        await small.add(PILOT, large)
    small.close()


async def test_a_fault_that_is_not_the_records_leaves_it_for_later(tmp_path, spooler, played):
    await spooler.add(PILOT, final(1))
    for fault in (psycopg2.OperationalError("deadlock"), psycopg2.InterfaceError("gone"), Busy("locked")):
        played.faults[1] = fault
        assert await spooler.play() == 0
    assert not (tmp_path / "refused").exists()
    played.faults.clear()
    assert await spooler.play() == 1


async def test_a_record_that_nobody_understands_goes_aside_and_blocks_nothing(tmp_path, spooler, played):
    spooler._ours.append([spool.packed({"caller": {}, "beat": {"of": "another version"}}), b"{", b"[]"])
    await spooler.add(PILOT, attrs.evolve(final(2), grid="\ud800"))
    await spooler.add(PILOT, final(3))
    played.faults[4] = ValueError("A string literal cannot contain NUL (0x00) characters.")
    await spooler.add(PILOT, final(4))
    await spooler.play()
    assert [beat.job_id for _, beat in played.beats] == [3]
    assert len(list((tmp_path / "refused").iterdir())) == 5
    assert spooler.size == 0


async def test_on_a_full_disk_a_report_is_refused_and_those_before_and_after_it_are_kept(spooler, played):
    await spooler.add(PILOT, final(1))
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spooler.size + 50, limits[1]))  # part of a record has room
    try:
        with pytest.raises(Busy):
            await spooler.add(PILOT, final(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    await spooler.add(PILOT, final(3))
    assert await spooler.play() == 2
    assert [beat.job_id for _, beat in played.beats] == [1, 3]
