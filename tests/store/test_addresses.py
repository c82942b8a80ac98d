"""Hosts of a database are looked up in a thread, and what libpq is told then."""

import socket
import threading
from time import monotonic

import pytest
from psycopg2.extensions import parse_dsn
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from pandatx.clock import Clock
from pandatx.config import Schemas
from pandatx.errors import DatabaseAway
from pandatx.store import addresses as module
from pandatx.store.addresses import Addresses, NoAddress
from pandatx.store.database import Database

KNOWN = {"one": ["192.0.2.1", "192.0.2.2"], "two": ["2001:db8::1"]}


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """A name service, and the names that it was asked for."""
    names: list[str] = []

    def look_up(host, port, type):
        assert threading.current_thread() is not threading.main_thread()
        names.append(host)
        if host not in KNOWN:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, type, 6, "", (address, 0)) for address in KNOWN[host] for _ in range(2)]

    monkeypatch.setattr(module.socket, "getaddrinfo", look_up)
    return names


@pytest.mark.parametrize(
    "conninfo",
    [
        "host=/run/postgresql dbname=x",
        "dbname=x",
        "host=192.0.2.7 port=5432",
        "host=2001:db8::7,/tmp",
        "host=one hostaddr=192.0.2.9",
    ],
)
async def test_what_needs_no_looking_up_is_left_as_it_is(asked, conninfo):
    assert await Addresses(reactor).put_into(conninfo) == conninfo
    assert asked == []


@pytest.mark.parametrize(
    ("conninfo", "host", "hostaddr", "port"),
    [
        ("host=two dbname=x password='a b'", "two", "2001:db8::1", None),
        ("host=one port=5433", "one,one", "192.0.2.1,192.0.2.2", "5433,5433"),
        ("host=two,/tmp,one,unknown port=1,2,3,4", "two,/tmp,one,one", "2001:db8::1,,192.0.2.1,192.0.2.2", "1,2,3,3"),
    ],
)
async def test_names_keep_their_order_and_ports_and_get_all_their_addresses(asked, conninfo, host, hostaddr, port):
    found = parse_dsn(await Addresses(reactor).put_into(conninfo))
    assert (found["host"], found["hostaddr"], found.get("port")) == (host, hostaddr, port)
    assert all(found[name] == value for name, value in parse_dsn(conninfo).items() if name not in ("host", "port"))


async def test_a_name_that_nobody_knows_is_told(asked):
    with pytest.raises(NoAddress, match=r"unknown: .*Name or service not known"):
        await Addresses(reactor).put_into("host=unknown,another")


async def test_a_name_service_that_hangs_holds_up_one_thread_and_not_the_reactor(monkeypatch):
    answer, n = threading.Event(), []

    def hang(host, port, type):
        n.append(host)
        answer.wait(20)
        return [(0, type, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(module.socket, "getaddrinfo", hang)
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    database = Database("hangs", "host=db.example port=1 dbname=x", Clock(reactor), Schemas(), 3)
    began = monotonic()
    asking = [Deferred.fromCoroutine(database.connect()) for _ in range(5)]
    await deferLater(reactor, 0.05)
    assert monotonic() - began < 0.25
    for success, fault in await DeferredList(asking, consumeErrors=True):
        assert not success and isinstance(fault.value, DatabaseAway)
        assert "the name service does not answer within 0.3 s" in str(fault.value)
    late = Deferred.fromCoroutine(database.connect())
    answer.set()
    with pytest.raises(DatabaseAway, match="refused"):
        await late
    assert n == ["db.example"]
