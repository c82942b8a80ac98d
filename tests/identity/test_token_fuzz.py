"""Whatever a token, an Origin or a file says: there is a caller, or a refusal with a text, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import jwt
from attrs import evolve
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from issuer import CLIENT, rsa_key
from test_tokens import NOW, World
from twisted.internet.defer import Deferred

from pandatx.domain.caller import Caller
from pandatx.errors import TokenRejected
from pandatx.identity.auth_config import asked_over_tls, parse_client
from pandatx.identity.token_keys import Issuer as Known
from pandatx.identity.token_keys import read_discovery, read_keys

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SURROGATES = st.text(st.characters(categories=None), max_size=20)
NAMES = (
    *("iss", "sub", "aud", "exp", "nbf", "iat", "name", "preferred_username", "groups", "wlcg.groups"),
    *("scope", "client_id", "email"),
)
GOOD = {
    "iss": "https://iam.example/",
    "sub": "s",
    "aud": CLIENT,
    "exp": NOW.timestamp() + 3600,
    "groups": ["atlas", "atlas/pilot"],
}
ORIGINS = st.sampled_from(["atlas", "atlas:pilot", "atlas.pilot", "vo.x", ":", "."]) | SURROGATES
FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORLD = World(atlas={}, **{"atlas.pilot": {"robot_ids": [CLIENT]}})
PUBLISHED = Known("https://iam.example/", read_keys(json.dumps(WORLD.issuer.get("/jwks")[1]).encode(), ("RS256",)))


class Keys:
    """Hands over the keys without a question."""

    generation = 0

    async def keys(self, url: str, kid: str) -> Known:
        return PUBLISHED


WORLD.judge._issuers = Keys()


def judged(bearer: str, origin: str | None) -> Caller | None:
    """The caller, or None for one who is refused; any other end fails the test."""
    ends: list[Any] = []

    async def ask() -> Any:
        found = WORLD.judge.judge(bearer, origin)
        return found if isinstance(found, Caller) else await found

    Deferred.fromCoroutine(ask()).addBoth(ends.append)
    if isinstance(ends[0], Caller):
        return ends[0]
    ends[0].trap(TokenRejected)
    str(ends[0].value).encode()
    return None


def signed(claims: Any) -> str:
    return jwt.PyJWS().encode(json.dumps(claims).encode(), rsa_key(), "RS256", {"kid": "first"})


@FUZZ
@given(st.text(max_size=300), ORIGINS | st.none())
@example("", "atlas")
@example("..", "atlas")
def test_any_text_in_place_of_a_token_is_refused(bearer: str, origin: str | None) -> None:
    assert judged(bearer.encode("utf-8", "replace").decode("latin-1"), origin) is None


@FUZZ
@given(VALUES, VALUES, st.binary(max_size=20))
def test_any_header_and_payload_are_refused_without_a_signature(header: Any, payload: Any, signature: bytes) -> None:
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    assert judged(".".join(jwt.utils.base64url_encode(part).decode() for part in parts), "atlas") is None


@FUZZ
@given(st.dictionaries(st.sampled_from(NAMES), VALUES | SURROGATES, max_size=5), ORIGINS)
@example({"sub": "\ud800"}, "atlas")
@example({}, "\ud800")
@example({}, "atlas:\ud800")
@example({"name": "\ud800\0"}, "atlas")
@example({"email": "\ud800"}, "atlas")
@example({"exp": float("nan")}, "atlas")
@example({"exp": float("inf")}, "atlas")
def test_any_claims_make_a_caller_that_can_be_stored_or_none(claims: dict[str, Any], origin: str) -> None:
    caller = judged(signed({**GOOD, **claims}), origin)
    if caller is not None:
        told = [caller.dn, caller.name, caller.issuer, caller.subject, *caller.fqans]
        told += [text for pair in caller.attributes for text in pair]
        assert all(text and "\0" not in text and text.encode() for text in told if text != "")
        assert caller.dn and caller.name and not caller.production
        assert caller.pilot == ("/atlas/Role=pilot" in caller.fqans)


@FUZZ
@given(VALUES)
def test_any_payload_that_is_signed_is_a_caller_or_refused(claims: Any) -> None:
    judged(signed(claims), "atlas")


@FUZZ
@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_file_or_document_is_read_or_a_fault(content: bytes) -> None:
    for read in (
        lambda: parse_client("atlas", content, asked_over_tls()),
        lambda: read_discovery(content),
        lambda: read_keys(content, ("RS256", "ES256")),
    ):
        try:
            read()
        except ValueError as fault:
            str(fault).encode()


@FUZZ
@given(
    st.dictionaries(
        st.sampled_from(["kty", "kid", "use", "alg", "n", "e", "crv", "x", "y", "key_ops"]),
        VALUES | st.sampled_from(["RSA", "EC", "OKP", "sig", "RS256", "ES256", "P-256", "AQAB", "Ed25519"]),
    )
)
def test_any_key_is_read_or_left_out(key: dict[str, Any]) -> None:
    read_keys(json.dumps({"keys": [{**key, "kid": "a"}, key]}).encode(), ("RS256", "ES256", "EdDSA"))


def test_the_good_token_of_these_tests_is_good() -> None:
    caller = judged(signed(GOOD), "atlas:pilot")
    assert caller is not None and evolve(caller).pilot
