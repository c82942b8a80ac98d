"""What of a task's parameters others do not read."""

from __future__ import annotations

import time

import pytest

from pandatx.domain.task_secrets import shown


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


@pytest.mark.parametrize("text", ["a." * 200_000, "token" * 100_000, "--token " * 50_000, "-" * 300_000])
def test_long_texts_take_no_time_that_grows_with_their_square(text: str) -> None:
    begun = time.monotonic()
    shown(text)
    assert time.monotonic() - begun < 5
