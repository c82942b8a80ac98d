"""How files of proxies are named, and when one is renewed."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from pandatx.domain.user_proxies import file_name, is_due

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("role", "hashed"),
    [
        (None, "/DC=ch/CN=me"),
        ("atlas", "/DC=ch/CN=me.atlas"),
        ("atlas:/atlas/Role=pilot", "/DC=ch/CN=me.pilot"),
    ],
)
def test_a_file_is_named_by_a_hash_of_holder_and_role(role, hashed):
    assert file_name("/DC=ch/CN=me", role) == hashlib.sha1(hashed.encode()).hexdigest()


@pytest.mark.parametrize(("left", "due"), [(95, False), (94.1, False), (94, True), (-1, True)])
def test_a_proxy_is_renewed_when_it_lives_for_94_hours_or_less(left, due):
    assert is_due(NOW + timedelta(hours=left), None, NOW) is due


@pytest.mark.parametrize(("minutes", "due"), [(59, False), (60, True)])
def test_another_try_comes_after_an_hour(minutes, due):
    assert is_due(None, NOW - timedelta(minutes=minutes), NOW) is due
