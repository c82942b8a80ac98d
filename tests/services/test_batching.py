"""Group commit."""

import pytest
from twisted.internet.defer import Deferred

from pandatx.errors import Busy
from pandatx.services.batching import Batcher


class Flights:
    """Batches that end when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.ends: list[Deferred[None]] = []

    async def flush(self, items: list[str]) -> list[str | Exception]:
        self.batches.append(items)
        self.ends.append(Deferred())
        await self.ends[-1]
        return [ValueError(item) if item == "bad" else item.upper() for item in items]


def test_the_first_goes_alone_and_those_behind_it_together():
    flights = Flights()
    batcher = Batcher(flights.flush)
    answers = [batcher.submit(item) for item in "abc"]
    assert flights.batches == [["a"]]
    flights.ends[0].callback(None)
    assert flights.batches == [["a"], ["b", "c"]]
    flights.ends[1].callback(None)
    assert [answer.result for answer in answers] == ["A", "B", "C"]


def test_two_items_of_one_key_are_in_different_batches_and_in_order():
    flights = Flights()
    batcher = Batcher(flights.flush, key=lambda item: item[0])
    for item in ("x", "a1", "b1", "a2", "b2"):
        batcher.submit(item)
    flights.ends[0].callback(None)
    flights.ends[1].callback(None)
    assert flights.batches == [["x"], ["a1", "b1"], ["a2", "b2"]]


def test_a_batch_is_no_heavier_than_it_may_be_but_for_an_item_that_is_so_alone():
    flights = Flights()
    batcher = Batcher(flights.flush, key=lambda item: item, weigh=len, heaviest=5)
    items = ["x", "aa", "bbb", "cc", "dddddddd", "e", "e", "f"]
    for item in items:
        batcher.submit(item)
    for n in range(6):
        flights.ends[n].callback(None)
    assert flights.batches == [["x"], ["aa", "bbb"], ["cc"], ["dddddddd"], ["e", "f"], ["e"]]


def test_one_bad_item_fails_alone():
    flights = Flights()
    batcher = Batcher(flights.flush)
    batcher.submit("first")
    good, bad = batcher.submit("good"), batcher.submit("bad")
    flights.ends[0].callback(None)
    flights.ends[1].callback(None)
    assert good.result == "GOOD"
    bad.addErrback(lambda failure: failure.trap(ValueError))


def test_a_batch_that_fails_fails_each_of_its_items_and_the_next_goes_on():
    calls = []

    async def flush(items):
        calls.append(items)
        if len(calls) == 1:
            raise RuntimeError("gone")
        return items

    batcher = Batcher(flush)
    first = batcher.submit("a")
    first.addErrback(lambda failure: failure.trap(RuntimeError))
    assert batcher.submit("b").result == "b"


def test_a_line_that_is_too_long_refuses_at_once():
    batcher = Batcher(Flights().flush, most_waiting=1)
    batcher.submit("running")
    batcher.submit("waiting")
    with pytest.raises(Busy):
        batcher.submit("one too many")
