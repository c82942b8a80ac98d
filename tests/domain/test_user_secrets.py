"""Secrets of a user by key."""

import json

import pytest

from pandatx.domain.cred_requests import AccessTokenRequest, SecretSetting
from pandatx.domain.pilot_job import Extras
from pandatx.domain.requests import Reply
from pandatx.domain.user_secrets import LARGEST_VALUE, LONGEST_KEY, changed, chosen, fault_of, read

TWO = json.dumps({"a": "1", "___file___:b": "Mg=="})


def test_a_secret_is_added_or_replaced():
    assert read(changed("", "a", "1")) == {"a": "1"}
    assert read(changed(TWO, "a", "")) == {"a": "", "___file___:b": "Mg=="}


def test_without_a_value_a_secret_is_removed_a_files_by_its_name_too():
    assert read(changed(TWO, "a", None)) == {"___file___:b": "Mg=="}
    assert read(changed(TWO, "b", None)) == {"a": "1"}
    assert read(changed(TWO, "c", None)) == read(TWO)


def test_a_secret_of_its_own_name_goes_before_a_file():
    both = json.dumps({"b": "1", "___file___:b": "2"})
    assert read(changed(both, "b", None)) == {"___file___:b": "2"}


def test_without_a_key_all_are_removed():
    assert changed(TWO, None, None) == changed(TWO, None, "x") == "{}"


def test_keys_choose_and_no_keys_are_all():
    assert chosen(TWO, ("a", "z")) == {"a": "1"}
    assert chosen(TWO, ()) == read(TWO)
    assert chosen("", ("a",)) == {}


@pytest.mark.parametrize("data", ["[1]", "{", "null", "[" * 100_000])
def test_what_is_stored_and_no_object_counts_as_nothing(data):
    assert read(data) == {}


def test_the_file_of_a_thousand_kb_that_panda_client_takes_fits_and_little_more():
    assert fault_of("k", "x" * (1000 * 1024 * 4 // 3 + 4)) is None
    assert fault_of("k", "x" * (LARGEST_VALUE + 1)) == ("value", "must be at most 1400000 characters")
    assert fault_of("", "x") == ("key", "must not be empty")
    assert fault_of("k" * (LONGEST_KEY + 1), None) == ("key", "must be at most 256 characters")


@pytest.mark.parametrize(
    "held",
    [SecretSetting(key="k", value="hidden"), AccessTokenRequest(client_name="c", token_key="hidden"),
     Extras(secrets="hidden", pilot_secrets="hidden"), Reply(pilot_secrets="hidden")],
)  # fmt: skip
def test_what_carries_a_secret_does_not_tell_it_when_it_is_printed(held):
    assert "hidden" not in repr(held)
