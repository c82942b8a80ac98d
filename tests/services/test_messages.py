"""Messages of data management, from a broker on loopback to the jobs that go on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
import pytest_twisted
from attrs import define, field
from endings import job, run, seed_file, seed_job, statuses
from stomp_broker import Broker, until
from storing import Manager, datasets, seed_dataset, seed_sub
from twisted.internet import reactor, ssl, task
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from pandatx import messaging
from pandatx.clients import messages as clients
from pandatx.clients.messages import Listening
from pandatx.clock import Clock
from pandatx.config import MessagingSettings
from pandatx.errors import Busy, DatabaseAway
from pandatx.identity.authority import make_authority, make_host
from pandatx.messaging import Messaging
from pandatx.services.messages import Messages


def event(name: str, kind: str = "datasetlock_ok") -> bytes:
    return json.dumps({"event_type": kind, "payload": {"scope": "mc", "name": name, "rse": "HERE"}}).encode()


@define
class Taken:
    """Stands for services.messages: what was given, and when it counts as done."""

    bodies: list[bytes] = field(factory=list)
    until: Deferred[None] | None = None

    async def take(self, message_id: str, body: bytes, wanted: Any) -> bool:
        self.bodies.append(body)
        if self.until is not None:
            await self.until
        return bool(wanted())


@pytest_twisted.async_yield_fixture
async def broker():
    made = Broker()
    made.start()
    yield made
    await made.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(messaging, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(messaging, "LOOK_EVERY", 0.02)


def listener(broker: Broker, taken: Any, here=lambda: True, **settings: Any) -> Messaging:
    about = MessagingSettings(host="127.0.0.1", port=broker.port, destination="/queue/panda", **settings)
    return Messaging(Clock(reactor), clients.Broker(reactor, about), taken, here)


def lines(events: list[Any]) -> list[str]:
    return [formatEvent(one) for one in events]


# The connection.


async def test_a_message_is_acknowledged_when_it_is_done(broker):
    taken = Taken(until=Deferred())
    listening = listener(broker, taken)
    await listening.start()
    broker.send("m1", b"one")
    await until(lambda: taken.bodies)
    assert broker.acknowledged == []
    assert listening.state == (True, f"listening to /queue/panda at 127.0.0.1:{broker.port}")
    taken.until.callback(None)
    await until(lambda: broker.acknowledged == ["m1"])
    await listening.stop()
    await until(lambda: not broker.sessions)


async def test_it_subscribes_as_it_is_told(broker):
    listening = listener(broker, Taken(), subscription="panda-one")
    await listening.start()
    await until(lambda: broker.said("SUBSCRIBE"))
    (asked,) = broker.said("SUBSCRIBE")
    assert (asked["destination"], asked["ack"]) == ("/queue/panda", "client-individual")
    assert (asked["activemq.prefetchSize"], asked["activemq.subscriptionName"]) == ("10", "panda-one")
    assert broker.said("STOMP")[0]["client-id"] == "panda-one"
    await listening.stop()


async def test_what_was_not_acknowledged_comes_again_on_the_next_connection(broker):
    taken = Taken(until=Deferred())
    listening = listener(broker, taken)
    with capturedLogs() as events:
        await listening.start()
        broker.send("m1", b"one")
        await until(lambda: taken.bodies)
        broker.drop()
        await until(lambda: not broker.sessions)
        first, taken.until = taken.until, None
        first.callback(None)
        await until(lambda: broker.acknowledged == ["m1"])
    assert taken.bodies == [b"one", b"one"]
    assert len([line for line in lines(events) if "is away" in line]) == 1
    await listening.stop()


async def test_a_broker_that_is_away_is_told_of_once_and_found_when_it_is_back(broker):
    await broker.stop()
    taken = Taken()
    listening = listener(broker, taken)
    with capturedLogs() as events:
        await listening.start()
        await until(lambda: not listening.state[0])
        tries = []
        while len(tries) < 3:
            attempt = listening._listening
            await until(lambda attempt=attempt: listening._listening not in (None, attempt))
            tries.append(attempt)
        assert "Connection refused" in listening.state[1]
        broker.start()
        broker.send("m1", b"one")
        await until(lambda: broker.acknowledged == ["m1"])
    assert len([line for line in lines(events) if "is away" in line]) == 1
    assert listening.state[0]
    await listening.stop()


async def test_a_refusal_is_told_without_the_password(broker):
    broker.password = "right"
    listening = listener(broker, Taken(), user="panda", password="wrong-one")
    with capturedLogs() as events:
        await listening.start()
        await until(lambda: not listening.state[0])
    assert "access refused go away" in listening.state[1]
    assert not [line for line in lines(events) if "wrong-one" in line]
    await listening.stop()


async def test_the_password_is_shown_nowhere():
    assert "secret" not in repr(MessagingSettings(host="h", user="u", password="secret"))


async def test_a_broker_that_says_nothing_is_given_up(broker, monkeypatch):
    monkeypatch.setattr(clients, "CONNECT_LIMIT", 0.2)
    broker.mute = True
    listening = listener(broker, Taken())
    await listening.start()
    await until(lambda: not listening.state[0])
    assert "said nothing for 0.2 s" in listening.state[1]
    await listening.stop()


async def test_only_the_process_that_runs_the_daemons_listens(broker):
    here = []
    listening = listener(broker, Taken(), lambda: bool(here))
    await listening.start()
    pause = Deferred()
    reactor.callLater(0.1, pause.callback, None)
    await pause
    assert (broker.frames, listening.state) == ([], (True, "not by this process"))
    here.append(True)
    await until(lambda: broker.said("SUBSCRIBE"))
    await listening.stop()


async def test_without_a_broker_there_is_nothing_to_do():
    listening = Messaging(Clock(reactor), None, Taken(), lambda: True)
    await listening.start()
    assert listening.state == (True, "no broker is configured")
    await listening.stop()


async def test_without_the_library_that_is_said_once(broker, monkeypatch):
    monkeypatch.setattr(clients.Broker, "installed", staticmethod(lambda: False))
    listening = listener(broker, Taken())
    with capturedLogs() as events:
        await listening.start()
    assert lines(events) == ["messages_host is set, but stomp.py is missing: install pandatx[messaging]"]
    assert listening.state[0] is False
    await listening.stop()


async def test_a_message_over_which_we_have_a_bug_comes_once_and_holds_up_no_other(broker):
    class Buggy(Taken):
        async def take(self, message_id, body, wanted):
            await super().take(message_id, body, wanted)
            if message_id == "m1":
                raise RuntimeError("a bug")
            return True

    taken = Buggy()
    listening = listener(broker, taken)
    with capturedLogs() as events:
        await listening.start()
        broker.send("m1", b"one")
        broker.send("m2", b"two")
        await until(lambda: broker.acknowledged == ["m1", "m2"])
    assert len(taken.bodies) == 2
    assert listening.state[0]
    assert [line for line in lines(events) if "m1" in line]
    await listening.stop()


# TLS.


@pytest.fixture
def authority(tmp_path):
    now = datetime.now(UTC)
    return make_authority("/DC=org/CN=test CA", now), now


@pytest_twisted.async_yield_fixture
async def tls_broker(authority):
    ca, now = authority
    host = make_host(ca, ["localhost", "127.0.0.1"], now)
    certificate = ssl.PrivateCertificate.loadPEM(host.cert_pem() + host.key_pem())
    made = Broker()
    made.start(certificate.options())
    yield made
    await made.stop()


async def test_tls_is_spoken_with_a_broker_that_the_authority_knows(tls_broker, authority, tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(authority[0].cert_pem())
    taken = Taken()
    listening = listener(tls_broker, taken, tls=True, ca=path)
    await listening.start()
    for n in range(20):
        tls_broker.send(f"m{n}", b"x" * 5000)
    await until(lambda: len(tls_broker.acknowledged) == 20)
    await listening.stop()
    await until(lambda: not tls_broker.sessions)


async def test_a_broker_of_another_authority_is_not_listened_to(tls_broker, authority, tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(make_authority("/DC=org/CN=another", authority[1]).cert_pem())
    listening = listener(tls_broker, Taken(), tls=True, ca=path)
    await listening.start()
    await until(lambda: not listening.state[0])
    assert "certificate verify failed" in listening.state[1].lower()
    assert tls_broker.frames == []
    await listening.stop()


async def test_a_file_that_is_not_there_is_named(broker):
    listening = listener(broker, Taken(), tls=True, ca=Path("/nowhere/ca.pem"))
    await listening.start()
    await until(lambda: not listening.state[0])
    assert "/nowhere/ca.pem" in listening.state[1]
    await listening.stop()


# Silence, by the clock.


class Thread(task.Clock):
    def callFromThread(self, work, *args):
        work(*args)


async def test_a_connection_on_which_nothing_comes_is_lost():
    clock = Thread()
    listening = Listening(clock)
    listening.on_connected(SimpleNamespace(headers={"heart-beat": "30000,30000"}))
    for _ in range(3):
        clock.advance(74.9)
        listening.on_heartbeat()
    assert listening.lives
    clock.advance(75)
    assert not listening.lives


async def test_a_broker_without_heartbeats_may_be_silent():
    clock = Thread()
    listening = Listening(clock)
    listening.on_connected(SimpleNamespace(headers={"heart-beat": "0,0"}))
    clock.advance(timedelta(days=1).total_seconds())
    assert listening.lives


# What messages lead to.


@pytest.fixture
def manager(database) -> Manager:
    return Manager(database)


@pytest.fixture
def messages(database, manager) -> Messages:
    return Messages(database, Clock(reactor), manager.activator, manager.finisher)


async def seed_waiting(database) -> None:
    await seed_job(database, 1, "jobsdefined4", jobstatus="assigned")
    await seed_file(database, 1, "in1", "input", dispatchdblock="mc.in_dis1", destinationdblock=None)
    await seed_dataset(database, "mc.in_dis1", "defined", datetime(2026, 1, 1, tzinfo=UTC), "dispatch")


async def test_a_dispatch_block_that_is_complete_releases_its_jobs_before_it_is_acknowledged(
    broker, database, manager, messages
):
    await seed_waiting(database)
    listening = listener(broker, messages)
    seen = []
    broker.acknowledged = SimpleNamespace(append=lambda message_id: seen.append((message_id, list(manager.activated))))
    await listening.start()
    broker.send("m1", event("mc.in_dis1"))
    await until(lambda: seen)
    assert seen == [("m1", [1])]
    assert (await job(database, 1, "jobsactive4"))["jobstatus"] == "activated"
    assert await datasets(database) == {"mc.in_dis1": "completed"}
    await listening.stop()


async def test_a_sub_block_that_is_complete_ends_its_transfers(database, manager, messages):
    await seed_job(database, 1, jobstatus="transferring")
    await seed_file(database, 1, "out1", status="transferring", destinationdblock="mc.x_sub01")
    await seed_sub(database, "mc.x_sub01", "tobeclosed", datetime(2026, 1, 1, tzinfo=UTC))
    for _ in range(2):
        assert await messages.take("m1", event("mc.x_sub01", "rule_ok"))
    assert await statuses(database) == {"out1": "ready"}
    assert await datasets(database) == {"mc.x_sub01": "cleanup"}
    assert await run(database, "SELECT pandaid, jobstatus FROM {panda}.job_output_report") == [(1, "finished")]


async def test_a_block_that_nobody_here_knows_is_taken_and_forgotten(messages):
    assert await messages.take("m1", event("mc.other_dis5"))


async def test_a_message_that_cannot_be_read_is_told_of_once_with_its_id_and_acknowledged(broker, database, messages):
    await seed_waiting(database)
    listening = listener(broker, messages)
    with capturedLogs() as events:
        await listening.start()
        broker.send("bad1", b"\xff<nonsense/>")
        broker.send("m2", event("mc.in_dis1"))
        await until(lambda: broker.acknowledged == ["bad1", "m2"])
    assert len([line for line in lines(events) if "bad1" in line]) == 1
    await listening.stop()


class Reluctant:
    """A database that fails some times."""

    def __init__(self, faults: list[Exception]) -> None:
        self.faults = faults

    async def transaction(self, name: str, *args: Any) -> Any:
        if self.faults:
            raise self.faults.pop(0)
        return []


async def test_while_there_is_no_database_a_message_waits():
    clock = Clock.manual(task.Clock())
    messages = Messages(Reluctant([DatabaseAway() for _ in range(50)]), clock, None, None)
    taking = Deferred.fromCoroutine(messages.take("m1", event("x_dis1")))
    for _ in range(49):
        clock.reactor.advance(5)
    assert not taking.called
    clock.reactor.advance(5)
    assert await taking is True


async def test_a_message_that_waits_ends_with_its_connection():
    clock = Clock.manual(task.Clock())
    lives = [True]
    messages = Messages(Reluctant([DatabaseAway() for _ in range(50)]), clock, None, None)
    taking = Deferred.fromCoroutine(messages.take("m1", event("x_dis1"), lambda: bool(lives)))
    lives.clear()
    clock.reactor.advance(0.5)
    assert await taking is False


@pytest.mark.parametrize(
    ("fault", "tries"), [(psycopg2.DataError("no"), 1), (Busy("messages.look: the database takes too long"), 5)]
)
async def test_what_the_database_refuses_holds_up_no_other_message(fault, tries):
    clock = Clock.manual(task.Clock())
    database = Reluctant([fault] * 50)
    messages = Messages(database, clock, None, None)
    with capturedLogs() as events:
        taking = Deferred.fromCoroutine(messages.take("m1", event("x_dis1")))
        for _ in range(tries - 1):
            assert not taking.called
            clock.reactor.advance(5)
        assert await taking is True
    assert len(database.faults) == 50 - tries
    assert [line for line in lines(events) if "m1" in line and "refused" in line]
