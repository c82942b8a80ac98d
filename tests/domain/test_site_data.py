"""The rows of SITEDATA, and whose turn it is (reference/lifecycle.md 3.2)."""

from datetime import UTC, datetime

import pytest

from pandatx.domain.site_data import Requests, Row, is_turn, rows, snapshot_hours, sum_flag

KNOWN = {"Q", "R", "ANALY_Q"}


def row(site, flag, get_job=0, no_job=0, update_job=0) -> Row:
    return Row(site=site, flag=flag, requests=Requests(get_job=get_job, no_job=no_job, update_job=update_job))


def test_each_host_has_a_row_and_each_queue_the_sum_of_all_hosts():
    found = rows([row("Q", "a.cern.ch", 5, 2, 7), row("Q", "b.cern.ch", 1)], [], KNOWN)
    assert found == [row("Q", "a", 5, 2, 7), row("Q", "b", 1), row("Q", "production", 6, 2, 7)]


def test_two_servers_on_one_host_are_one_row():
    assert rows([row("Q", "a.x", 5), row("Q", "a.y", 1)], [], KNOWN)[0] == row("Q", "a", 6)


def test_a_queue_that_nobody_knows_is_a_pilots_slip():
    assert rows([row("", "a", 5), row("nowhere", "a", 5)], [], KNOWN) == []


def test_what_older_servers_have_counted_is_in_the_sum_and_what_we_have_written_is_not_counted_twice():
    others = [
        row("Q", "old", 10),
        row("Q", "a", 5),
        row("Q", "production", 15),
        row("Q", "test", 99),
        row("R", "old", 3),
    ]
    found = rows([row("Q", "a.cern.ch", 6)], others, KNOWN)
    assert found == [row("Q", "a", 6), row("Q", "production", 16)]


def test_the_sum_of_an_analysis_queue_has_a_flag_of_its_own():
    assert (sum_flag("ANALY_Q"), sum_flag("Q")) == ("analysis", "production")
    assert [each.flag for each in rows([row("ANALY_Q", "a", 1)], [], KNOWN)] == ["a", "analysis"]


@pytest.mark.parametrize(("minute", "turn"), [(0, 0), (4, 0), (5, 1), (9, 1), (10, 2), (14, 2), (15, 0), (59, 2)])
def test_three_servers_take_turns_of_five_minutes(minute, turn):
    now = datetime(2026, 1, 1, 12, minute, tzinfo=UTC)
    assert [is_turn(now, 5, 3, number) for number in range(3)] == [number == turn for number in range(3)]
    assert not is_turn(now, 5, 3, 999)


def test_a_snapshot_stands_at_a_thousand_and_the_minute_of_the_day():
    assert snapshot_hours(datetime(2026, 1, 1, 0, 0, tzinfo=UTC)) == 1000
    assert snapshot_hours(datetime(2026, 1, 1, 23, 59, tzinfo=UTC)) == 2439
