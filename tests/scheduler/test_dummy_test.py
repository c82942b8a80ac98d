"""dummy_test of the guide."""

from __future__ import annotations

import os

from twisted.internet.defer import ensureDeferred
from twisted.logger import formatEvent, globalLogPublisher

from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.dummy_test import DummyTest


def test_it_says_who_runs_and_when_and_wants_no_second_turn(clock):
    said = []
    globalLogPublisher.addObserver(said.append)
    try:
        outcome = []
        ensureDeferred(DummyTest().run(Context(clock, "dummy_test"))).addCallback(outcome.append)
    finally:
        globalLogPublisher.removeObserver(said.append)
    assert outcome == [False]
    assert f"uid={os.getuid()}, pid={os.getpid()}, 2026-01-01 00:00:00" in formatEvent(said[-1])
    assert said[-1]["log_namespace"] == "pandatx.scheduler.daemons.dummy_test"
