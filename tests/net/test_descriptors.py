"""Open files for as many connections as are configured."""

from __future__ import annotations

import resource

import pytest

from pandatx.net import descriptors
from pandatx.net.descriptors import room_for

INFINITY = resource.RLIM_INFINITY


@pytest.fixture
def limits(monkeypatch):
    """The soft and the hard limit of a process, in a list."""
    found = [1024, 524288]
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda which: tuple(found))
    monkeypatch.setattr(descriptors.resource, "setrlimit", lambda which, pair: found.__setitem__(slice(None), pair))
    return found


@pytest.mark.parametrize("hard", [524288, INFINITY])
def test_the_soft_limit_is_raised_for_the_connections(limits, hard):
    limits[1] = hard
    assert room_for(4096) == 4096
    assert limits == [8704, hard]


@pytest.mark.parametrize("soft", [8704, INFINITY])
def test_a_limit_that_is_wide_enough_stays(limits, soft):
    limits[:] = [soft, INFINITY]
    assert room_for(4096) == 4096
    assert limits == [soft, INFINITY]


@pytest.mark.parametrize(("hard", "room"), [(4096, 1792), (1024, 256), (100, 25)])
def test_where_it_cannot_be_raised_fewer_connections_are_taken(limits, hard, room):
    limits[:] = [min(hard, 1024), hard]
    assert room_for(4096) == room
    assert limits == [hard, hard]


@pytest.mark.parametrize("fault", [ValueError("not allowed to raise maximum limit"), PermissionError()])
def test_a_system_that_allows_no_more_keeps_what_there_is(limits, monkeypatch, fault):
    def refuse(which, pair):
        raise fault

    monkeypatch.setattr(descriptors.resource, "setrlimit", refuse)
    limits[:] = [1024, INFINITY]
    assert room_for(4096) == 256
