"""What becomes of an asynchronous request, by its attempts, its age and what its handler says."""

from datetime import UTC, datetime, timedelta

import pytest

from pandatx.domain.async_work import (
    EVENT_PICKING,
    FILE_RECOVERY,
    GREP,
    KINDS,
    LARGEST_RESULT,
    SLEEP_ECHO,
    WORKFLOW,
    Claim,
    FileStep,
    Status,
    answered,
    complete,
    died,
    file_step,
    given_back,
    kind_of,
    may_read,
    timed_out,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def claim(kind=WORKFLOW, attempts=1, age=timedelta(0)):
    return Claim(request_id="r", kind=kind, machine="m", parameters={}, created_at=NOW - age, attempts=attempts)


@pytest.mark.parametrize("kind", [WORKFLOW, FILE_RECOVERY])
def test_files_of_workflows_and_recoveries_are_tried_after_5_s_and_for_the_last_time_after_2_h(kind):
    assert file_step(kind, 5 * SECOND) is FileStep.WAIT
    assert file_step(kind, 5 * SECOND + timedelta(microseconds=1)) is FileStep.TRY
    assert file_step(kind, 2 * HOUR) is FileStep.TRY
    assert file_step(kind, 2 * HOUR + SECOND) is FileStep.LAST


def test_files_of_event_picking_are_tried_after_1_min_and_for_the_last_time_after_24_h():
    assert file_step(EVENT_PICKING, MINUTE) is FileStep.WAIT
    assert file_step(EVENT_PICKING, MINUTE + SECOND) is FileStep.TRY
    assert file_step(EVENT_PICKING, 24 * HOUR) is FileStep.TRY
    assert file_step(EVENT_PICKING, 24 * HOUR + SECOND) is FileStep.LAST


def test_files_have_the_prefixes_that_older_front_ends_write():
    assert {kind.name: kind.prefix for kind in KINDS.values() if kind.prefix} == {
        "workflow": "workflow.",
        "file_recovery": "recov.",
        "event_picking": "evp.",
    }


def test_a_call_that_ends_its_child_is_tried_again_twice_and_then_failed_with_the_reason():
    why = "its process was killed by signal 9"
    first, second, third = (died(claim(attempts=n), why) for n in (1, 2, 3))
    assert (first.status, first.error, first.uncounted) == (Status.PENDING, f"attempt 1: {why}", False)
    assert second.status is Status.PENDING
    assert (third.status, third.error) == (Status.FAILED, f"given up after 3 attempts: {why}")


def test_a_search_that_was_killed_at_its_limit_is_not_tried_again():
    for kind in (GREP, SLEEP_ECHO):
        assert timed_out(claim(kind), "too long").status is Status.FAILED
    assert timed_out(claim(WORKFLOW), "too long").status is Status.PENDING


def test_calls_that_older_servers_may_take_over_end_well_before_480_s():
    assert all(kind.limit <= 240 for kind in (GREP, SLEEP_ECHO, kind_of("of_the_operator")))


def test_a_handler_that_asks_for_more_time_gets_it_until_the_request_is_too_old():
    later = {"status": "later", "error": "the engine is away"}
    soon = answered(claim(age=2 * HOUR), later, NOW)
    assert (soon.status, soon.pause, soon.uncounted, soon.error) == (Status.PENDING, MINUTE, True, "the engine is away")
    last = answered(claim(age=2 * HOUR + SECOND), later, NOW)
    assert last.status is Status.FAILED
    assert "older than 2:00:00: the engine is away" in last.error
    assert answered(claim(EVENT_PICKING, age=24 * HOUR), later, NOW).pause == 10 * MINUTE
    assert answered(claim(EVENT_PICKING, age=24 * HOUR + SECOND), later, NOW).status is Status.FAILED


def test_what_a_handler_returns_without_a_status_is_the_result():
    assert answered(claim(), "text", NOW).result == "text"
    assert answered(claim(), {"n": 1}, NOW).result == '{"n": 1}'
    assert answered(claim(), None, NOW).result is None
    assert answered(claim(), None, NOW).status is Status.DONE


def test_long_outputs_are_cut_and_said_to_be():
    fits = answered(claim(), {"status": "done", "result": "x" * LARGEST_RESULT, "return_code": 0}, NOW)
    assert (fits.truncated, len(fits.result)) == (False, 1_000_000)
    for name in ("result", "stderr"):
        cut = answered(claim(), {"status": "done", name: "x" * (LARGEST_RESULT + 1)}, NOW)
        assert (cut.truncated, len(getattr(cut, name))) == (True, 1_000_000)


def test_what_no_table_holds_is_left_out_of_an_answer():
    ending = answered(claim(), {"status": "done", "result": "a\0b", "return_code": 1 << 40}, NOW)
    assert (ending.result, ending.return_code) == ("ab", None)


def test_an_attempt_that_a_stop_cut_short_does_not_count():
    assert given_back("stop").uncounted
    assert given_back("stop").status is Status.PENDING


def test_a_result_is_read_by_its_requester_and_by_whom_its_access_names():
    owned = {"requester": "Me"}
    assert may_read(owned, "Me", False)
    assert not may_read(owned, "You", True)
    assert not may_read({}, "", True)
    assert not may_read({"requester": ""}, "", True)
    assert may_read({"requester": "Me", "access": "production"}, "You", True)
    assert not may_read({"requester": "Me", "access": "production"}, "You", False)
    assert may_read({"requester": "Me", "access": "anyone"}, "You", False)
    assert not may_read({"requester": "Me", "access": "nonsense"}, "You", True)


def test_a_request_is_complete_when_every_expected_machine_has_ended():
    assert complete(["a", "b"], [("a", "done"), ("b", "failed")])
    assert not complete(["a", "b"], [("a", "done"), ("b", "running")])
    assert not complete(["a", "b"], [("a", "done")])
    assert not complete([], [("a", "done")])
