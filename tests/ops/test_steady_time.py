"""Delays do not go by the machine's clock, which is set now and then."""

from time import monotonic

import pytest
from twisted.internet.base import ReactorBase
from twisted.internet.epollreactor import EPollReactor

from pandatx.tap import keep_steady


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_machine_whose_clock_is_set_neither_delays_nor_hastens_timers(monkeypatch, step):
    wall = [1_800_000_000.0]
    monkeypatch.setattr(ReactorBase, "seconds", staticmethod(lambda: wall[0]))
    reactor = EPollReactor()
    keep_steady(reactor)
    soon, late = [], []
    reactor.callLater(0.05, soon.append, True)
    timer = reactor.callLater(60, late.append, True)
    wall[0] += step
    until = monotonic() + 5
    while not soon and monotonic() < until:
        reactor.iterate(0.01)
    timer.cancel()
    reactor.removeAll()
    assert (soon, late) == ([True], [])
