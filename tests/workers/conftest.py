"""Pools of scripts, and what they log."""

from __future__ import annotations

import pytest
import pytest_twisted
from children import ScriptPools
from twisted.logger import globalLogPublisher


@pytest_twisted.async_yield_fixture
async def scripts(tmp_path):
    made = ScriptPools(tmp_path)
    yield made
    await made.stop()


@pytest.fixture
def events():
    found = []
    globalLogPublisher.addObserver(found.append)
    yield found
    globalLogPublisher.removeObserver(found.append)
