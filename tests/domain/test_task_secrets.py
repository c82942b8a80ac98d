"""What of a task's parameters others do not read."""

from __future__ import annotations

import time

import pytest
from attrs import evolve

from pandatx.domain.caller import Caller
from pandatx.domain.task_secrets import may_read, shown


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("prun --password hunter2 --nJobs 3", "prun --password *** --nJobs 3"),
        ("--token=abc,def", "--token=***,def"),
        ("export MY_SECRET='a b'; run", "export MY_SECRET=***; run"),
        ("-p%20--api_key%3Dabc%20x", "-p%20--api_key%3D***%20x"),
        ("curl -H 'Authorization: Bearer abc.def'", "curl -H 'Authorization: ***"),
        ("eyJhbGciOi.eyJzdWIi.abc", "***"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", "***"),
        ("the token is here", "the token is here"),
        ("--nFiles 3 --inDS token", "--nFiles 3 --inDS token"),
        ({"password": "x", "taskName": "t"}, {"password": "***", "taskName": "t"}),
        ({"a": [{"userToken": {"deep": "x"}}]}, {"a": [{"userToken": "***"}]}),
        (
            {"useSecrets": True, "secretCount": 3, "password": ""},
            {"useSecrets": True, "secretCount": 3, "password": ""},
        ),
        ([1, None, 2.5], [1, None, 2.5]),
    ],
)
def test_what_looks_like_a_secret_is_hidden(value: object, told: object) -> None:
    if "Authorization" in str(value):
        assert "abc.def" not in str(shown(value))
    else:
        assert shown(value) == told


@pytest.mark.parametrize(
    "name",
    "passwd PASSWORD passphrase my_secret Token credentials privateKey private_key apikey API_KEY authorisation "
    "Authorization pa\u017fsword to\u212aen".split(),
)
def test_every_kind_of_secret_is_looked_for(name: str) -> None:
    assert shown(f"run --{name}=abc") == f"run --{name}=***"
    assert shown({name: "abc"}) == {name: "***"}


@pytest.mark.parametrize("text", ["a." * 200_000, "token" * 6000, "--token " * 3900, "-" * 300_000, "token='" * 4000])
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    shown(text)
    assert time.process_time() - begun < 0.5


def test_of_a_very_long_text_with_a_secret_nothing_is_left() -> None:
    assert shown("x" * 40_000) == "x" * 40_000
    assert shown({"a": "x" * 32_000 + " --token abc"}) == {"a": "***"}


OWNER = Caller(dn="/CN=me", name="me", how="x509")


@pytest.mark.parametrize(
    ("caller", "may"),
    [
        (OWNER, True),
        (evolve(OWNER, name="p", production=True), True),
        (evolve(OWNER, name="p", pilot=True), False),
        (evolve(OWNER, limited=True), False),
        (evolve(OWNER, limited=True, production=True), False),
        (Caller(name="me"), False),
        (Caller(), False),
    ],
)
def test_secrets_are_for_the_owner_and_the_production_role(caller: Caller, may: bool) -> None:
    assert may_read(caller, "me") is may
    assert not may_read(evolve(caller, production=False), None)
    assert not may_read(evolve(caller, production=False, name=""), "")
