"""What tests of services share: a time that they move, beside the real reactor that the database needs."""

from __future__ import annotations

import pytest
from twisted.internet import reactor, task

from pandatx.clock import Clock
from pandatx.services.facts import Facts


@pytest.fixture
def time() -> task.Clock:
    """What moves ``now``."""
    return task.Clock()


@pytest.fixture
def now(time) -> Clock:
    """A clock whose time the test moves, from the start of 2026 on; its timers are the real reactor's."""
    return Clock(reactor, Clock.manual(time).now)


@pytest.fixture
def facts(database, now) -> Facts:
    return Facts(database, now)
