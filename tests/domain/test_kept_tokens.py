"""The clients that tokens are kept for, and when a token is renewed."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.tokens import TokenClient, is_due, read_clients

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENTRY = {"endpoint": "https://iam/token", "client_id": "id", "secret": "hush"}


def read(**entries):
    return read_clients(json.dumps(entries).encode())


def test_a_client_is_read_with_what_holds_where_the_file_says_nothing():
    (client,) = read(pilot=ENTRY).clients
    assert client == TokenClient(name="pilot", endpoint="https://iam/token", client_id="id", secret="hush")
    assert (client.use_key, client.key_lifetime) == (False, timedelta(hours=96))
    assert client.file_in(Path("/d")) == Path("/d/access_token_pilot")


def test_a_client_may_name_its_file_and_want_keys():
    (client,) = read(
        p=ENTRY | {"scope": "a b", "token_file_path": "/x/t", "use_token_key": True, "token_key_lifetime": 2}
    ).clients
    assert (client.scope, client.file_in(Path("/d")), client.use_key) == ("a b", Path("/x/t"), True)
    assert client.key_lifetime == timedelta(hours=2)


def test_the_secret_is_in_no_text_of_a_client():
    assert "hush" not in repr(read(p=ENTRY).clients[0])


@pytest.mark.parametrize(
    ("name", "entry", "why"),
    [
        ("../p", ENTRY, "name"),
        ("a/b", ENTRY, "name"),
        (".p", ENTRY, "name"),
        ("p" * 101, ENTRY, "name"),
        ("p", "text", "not an object"),
        ("p", {}, "neither endpoint nor token_file_path"),
        ("p", {**ENTRY, "secret": ""}, "secret is missing"),
        ("p", {**ENTRY, "client_id": 3}, "client_id is missing"),
        ("p", {**ENTRY, "endpoint": "http://iam/token"}, "https"),
        ("p", {**ENTRY, "endpoint": "https://["}, "https"),
        ("p", {**ENTRY, "endpoint": "ftp://localhost/"}, "https"),
        ("p", {**ENTRY, "endpoint": ["https://iam/token"]}, "endpoint is missing or no text"),
        ("p", {**ENTRY, "scope": 1}, "scope"),
        ("p", {**ENTRY, "token_key_lifetime": 1}, "above 1"),
        ("p", {**ENTRY, "token_key_lifetime": "96"}, "above 1"),
    ],
)
def test_a_faulty_client_is_left_out_and_named_without_its_secret(name, entry, why):
    found = read_clients(json.dumps({name: entry, "good": ENTRY}).encode())
    assert [client.name for client in found.clients] == ["good"]
    (fault,) = found.faults
    assert why in fault and name[:20] in fault and "hush" not in fault


def test_a_loopback_issuer_needs_no_tls():
    assert read(p=ENTRY | {"endpoint": "http://127.0.0.1:8080/token"}).clients


@pytest.mark.parametrize("content", [b"", b"[]", b'{"p": "hush"', b"\xff", b"[" * 9999])
def test_a_file_that_is_no_object_is_refused_without_quoting_it(content):
    with pytest.raises(ValueError) as raised:
        read_clients(content)
    assert "hush" not in str(raised.value)


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.dictionaries(
            st.sampled_from([*ENTRY, "scope", "token_key_lifetime"]),
            st.none() | st.text(max_size=4) | st.floats() | st.lists(st.none(), max_size=1),
        ),
    )
)
def test_no_file_breaks_the_reader(document):
    read_clients(json.dumps(document).encode())


def jwt(**claims) -> str:
    body = base64.urlsafe_b64encode(json.dumps({k: v.timestamp() for k, v in claims.items()}).encode()).decode()
    return f"e30.{body.rstrip('=')}.c2ln"


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


@pytest.mark.parametrize(
    ("lifetime", "age", "due"),
    [(8, 0.99, False), (8, 1.0, True), (1, 0.49, False), (1, 0.5, True), (0.5, 0.24, False), (0.5, 0.25, True)],
)
def test_a_token_is_renewed_at_half_of_its_life_and_after_an_hour_at_the_latest(lifetime, age, due):
    written = NOW - hours(age)
    told = jwt(iat=written, exp=written + hours(lifetime))
    assert is_due(told, written, None, NOW) is due
    assert is_due("opaque", written, hours(lifetime), NOW) is due


def test_a_token_that_says_when_it_was_issued_counts_from_then():
    assert is_due(jwt(iat=NOW - hours(1), exp=NOW + hours(0.5)), NOW, None, NOW)


@pytest.mark.parametrize(("age", "due"), [(0.99, False), (1.0, True)])
def test_a_token_of_which_nothing_is_known_lives_for_an_hour(age, due):
    assert is_due("opaque", NOW - hours(age), None, NOW) is due


@pytest.mark.parametrize("token", ["", "  \n"])
def test_an_empty_file_is_due(token):
    assert is_due(token, NOW, None, NOW)


def test_a_file_of_the_future_is_due():
    assert is_due("opaque", NOW + hours(1), None, NOW)


@pytest.mark.parametrize("token", ["a.b.c", "e30.W10.x", "e30.eyJleHAiOiJ4In0.x", "e30.eyJleHAiOjFlOTl9.x", "é.é.é"])
def test_what_looks_like_a_jwt_and_is_none_counts_as_opaque(token):
    assert not is_due(token, NOW, None, NOW)
