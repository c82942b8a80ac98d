"""Which user children become (R34)."""

from __future__ import annotations

import os
import pwd
import sys

import pytest
from twisted.logger import globalLogPublisher

from pandatx.workers.user import resolve_user


@pytest.fixture
def warnings():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_no_name_and_the_own_name_mean_the_servers_user_without_a_word(warnings):
    assert resolve_user(None, None) is None
    assert resolve_user(pwd.getpwuid(os.geteuid()).pw_name, None) is None
    assert warnings == []


def test_an_unknown_name_is_one_warning_and_the_servers_user(warnings):
    assert resolve_user("no-such-user-here", None) is None
    assert ["no-such-user-here" in event["why"] for event in warnings] == [True]


def test_an_unknown_group_is_one_warning_and_the_servers_user(warnings):
    assert resolve_user("nobody", "no-such-group-here") is None
    assert len(warnings) == 1


def test_a_python_that_the_user_cannot_run_is_one_warning_and_the_servers_user(warnings, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    python = closed / "python"
    python.symlink_to(sys.executable)
    assert resolve_user("nobody", None, str(python)) is None
    assert len(warnings) == 1


def test_a_server_that_is_not_root_keeps_its_user_without_a_word(warnings, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert resolve_user("nobody", None) is None
    assert warnings == []
