"""The letters in GRIDPREF of the table of users decide what a user may have (reference/wire.md 1.5.5)."""

import pytest
from async_site import run
from attrs import evolve
from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.errors import DatabaseAway, NotPermitted
from pandatx.services.facts import Facts
from pandatx.services.permissions_of_users import Letter, UserPermissions

ME, YOU = (Caller(dn=f"/CN={name}", name=name, how="x509") for name in ("Me", "You"))


async def permissions(database):
    facts = Facts(database, Clock(reactor))
    await facts.refresh()
    return UserPermissions(facts)


@pytest.mark.parametrize(
    ("prefs", "status", "may"), [("a", None, True), ("pak", "active", True), ("pk", None, False), (None, None, False),
                                 ("", None, False), ("a", "disabled", False)],
)  # fmt: skip
async def test_a_user_has_the_letters_of_the_table_and_is_not_disabled(database, prefs, status, may):
    await run(
        database,
        "INSERT INTO {meta}.users (id, name, gridpref, status) VALUES (1, 'Me', %(p)s, %(s)s)",
        p=prefs,
        s=status,
    )
    asked = await permissions(database)
    assert asked.has(ME, Letter.ASYNC) is may
    assert asked.has(YOU, Letter.ASYNC) is False
    assert asked.has(Caller(), Letter.ASYNC) is False


async def test_the_name_that_a_token_shows_opens_no_credentials_without_a_role_of_its_groups(database):
    await run(database, "INSERT INTO {meta}.users (id, name, gridpref) VALUES (1, 'Me', 'pkt')")
    asked = await permissions(database)
    token = Caller(dn="Me", name="Me", how="token", issuer="https://iam.example/", subject="somebody")
    for letter in (Letter.PROXY, Letter.KEY_PAIR, Letter.TOKEN_KEY):
        asked.require(ME, letter)
        asked.require(evolve(token, pilot=True), letter)
        with pytest.raises(NotPermitted, match="a token without the pilot or production role gets no"):
            asked.require(token, letter)


async def test_the_letters_of_several_rows_of_a_name_count_together_but_not_those_of_a_disabled_one(database):
    await run(
        database,
        "INSERT INTO {meta}.users (id, name, dn, gridpref, status)"
        " VALUES (1, 'Me', '/a', 'p', NULL), (2, 'Me', '/b', 'k', 'x'), (3, 'Me', '/c', 't', 'disabled')",
    )
    asked = await permissions(database)
    assert [letter.value for letter in Letter if asked.has(ME, letter)] == ["p", "k"]


async def test_until_the_table_was_read_nobody_is_told_that_he_may_not(database):
    with pytest.raises(DatabaseAway):
        UserPermissions(Facts(database, Clock(reactor))).require(ME, Letter.PROXY)


async def test_who_lacks_a_letter_is_told_which_one_and_where_it_stands(database):
    with pytest.raises(
        NotPermitted, match=r"'Me' is not authorized with 'k' in doma_pandameta\.USERS\.GRIDPREF to get"
    ):
        (await permissions(database)).require(ME, Letter.KEY_PAIR)
