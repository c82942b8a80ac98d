"""Each owner's name belongs to one subject (rule R27), over the real database."""

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock as Time

from pandatx.clock import Clock
from pandatx.domain.caller import ANONYMOUS, Caller
from pandatx.errors import BadRequest, Busy, NameTaken, NotFound, NotPermitted
from pandatx.services.facts import Facts
from pandatx.services.owners import FRESH, Owners
from pandatx.store.database import Database
from pandatx.store.queries import Query

ALICE = Caller(dn="/DC=one/CN=alice", name="alice", how="x509")
OTHER = evolve(ALICE, dn="/DC=two/CN=alice")
TOKEN = Caller(dn="Alice", name="alice", how="token", issuer="https://iam.example.org/", subject="f00")
CHIEF = Caller(dn="/CN=chief", name="chief", how="x509", production=True)
COUNT = Query(name="n", text="SELECT count(*) FROM {own}.owners")


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def owners(database: Database, time: Time) -> Owners:
    return Owners(database, Clock.manual(time))


async def test_the_first_subject_with_a_name_has_it_and_others_are_refused(owners):
    await owners.bind(ALICE)
    await owners.bind(ALICE)
    for other in (OTHER, TOKEN):
        with pytest.raises(NameTaken, match="the name alice belongs to another identity than"):
            await owners.bind(other)
        with pytest.raises(NameTaken, match=other.identity):
            await owners.check(other)
    assert await owners.check(ALICE) is None


async def test_a_name_is_bound_once_though_two_bind_it_at_a_time(database: Database, time):
    servers = [Owners(database, Clock.manual(time)) for _ in range(2)]
    bound = [
        database.transaction("bind", one.bind_all, [who]) for one, who in zip(servers, (ALICE, OTHER), strict=True)
    ]
    both = await gatherResults([Deferred.fromCoroutine(each) for each in bound])
    assert both[0] == both[1]


async def test_to_look_binds_nothing(owners, database):
    await owners.check(ALICE)
    assert (await database.statement("n", COUNT)).scalar() == 0


async def test_what_is_known_is_not_asked_for_again_within_a_minute(owners, time, database):
    await owners.bind(ALICE)
    await owners.check(Caller(dn="/CN=pilot", name="pilot", pilot=True))
    for caller in (ALICE, Caller(dn="/CN=pilot", name="pilot", pilot=True), ANONYMOUS, CHIEF):
        assert owners.admission(caller) is None
    time.advance(FRESH.total_seconds())
    assert not owners.may_pass(ALICE)
    assert owners.may_pass(CHIEF)
    await owners.check(ALICE)
    assert owners.may_pass(ALICE)


async def test_only_so_many_names_are_remembered(owners, monkeypatch):
    monkeypatch.setattr("pandatx.services.owners.REMEMBERED", 2)
    for name in ("a", "b", "c"):
        await owners.check_name(evolve(ALICE, name=name))
    assert 0 < len(owners._known) <= 2


async def test_who_is_refused_costs_no_statement_within_a_minute(owners, database):
    await owners.bind(ALICE)
    await database.stop()
    for _ in range(2):
        with pytest.raises(NameTaken):
            await owners.check(OTHER)


async def test_who_has_the_production_role_by_a_name_alone_must_have_the_name(owners):
    await owners.bind(ALICE)
    namesake = evolve(OTHER, production=True)
    assert owners.may_pass(namesake)
    with pytest.raises(NameTaken):
        await owners.check(evolve(namesake, by_name=True))


async def test_without_a_database_what_was_known_last_holds_and_all_others_may_pass(owners, database, time):
    await owners.bind(ALICE)
    time.advance(FRESH.total_seconds())
    await database.stop()
    for caller in (ALICE, evolve(OTHER, name="bob")):
        assert await owners.check(caller) is None
    with pytest.raises(NameTaken):
        await owners.check(OTHER)


async def test_a_load_on_the_database_lends_out_no_names(owners, database):
    sessions = [await database.pool.acquire(5.0) for _ in range(database.pool.size)]
    with pytest.raises(Busy, match="the database is busy"):
        await owners.check(OTHER)
    for session in sessions:
        database.pool.release(session)
    assert await owners.check(OTHER) is None


async def test_a_name_that_is_released_goes_to_the_next(owners, database, time):
    elsewhere = Owners(database, Clock.manual(time))
    await owners.bind(ALICE)
    await elsewhere.bind(ALICE)
    had = await owners.release(CHIEF, "alice")
    assert (had.name, had.subject) == ("alice", ALICE.identity)
    await owners.bind(OTHER)
    time.advance(FRESH.total_seconds())
    with pytest.raises(NameTaken):
        await elsewhere.check(ALICE)
    assert (await owners.show("alice")).subject == OTHER.identity


async def test_one_more_subject_may_be_let_use_a_name(owners):
    await owners.bind(ALICE)
    for _ in range(2):
        found = await owners.admit(CHIEF, "alice", TOKEN.identity)
        assert found.also == ("https://iam.example.org/ f00",)
    for caller in (ALICE, TOKEN):
        await owners.bind(caller)
        await owners.check(caller)
    with pytest.raises(NameTaken):
        await owners.bind(OTHER)


async def test_identities_of_any_length_are_told_apart(owners):
    long = evolve(TOKEN, subject="s" * 4000)
    await owners.bind(long)
    await owners.bind(long)
    for other in (evolve(long, subject="s" * 3999), evolve(long, subject="s" * 4001)):
        with pytest.raises(NameTaken):
            await owners.bind(other)
    found = await owners.show("alice")
    assert (len(found.subject), found.subject[:25]) == (500, "https://iam.example.org/ ")


async def test_names_that_no_table_holds_are_nobodys(owners):
    with pytest.raises(NotPermitted, match="at most 250 characters"):
        await owners.bind(evolve(ALICE, name="a" * 251))
    await owners.bind(evolve(ALICE, name="a" * 250))


@pytest.mark.parametrize("subject", ["", " ", "x" * 501, "/CN=x\n", "\x1b"])
async def test_nobody_is_let_use_a_name_by_what_is_no_subject(owners, subject):
    await owners.bind(ALICE)
    with pytest.raises(BadRequest, match="issuer and subject"):
        await owners.admit(CHIEF, "alice", subject)
    assert (await owners.show("alice")).also == ()


async def test_a_name_that_nobody_has_is_told_to_be_so(owners):
    for asking in (owners.show("bob"), owners.release(CHIEF, "bob"), owners.admit(CHIEF, "bob", "x")):
        with pytest.raises(NotFound, match="the name bob belongs to nobody yet"):
            await asking


async def test_who_has_the_name_of_a_disabled_user_is_known_by_more_than_the_name(owners, database):
    await owners.bind(ALICE)
    await owners.admit(CHIEF, "alice", TOKEN.identity)
    await owners.bind(Caller(dn="/CN=bob", name="bob", how="x509"))
    disabled = "INSERT INTO {meta}.users (id, name, status) VALUES (1, 'alice', 'disabled'), (2, 'bob', NULL)"
    await database.statement("disable", Query(name="disable", text=disabled))
    facts = Facts(database, Clock.manual(Time()))
    await facts.refresh()
    assert facts.known.banned_subjects == {ALICE.dn, TOKEN.identity}
