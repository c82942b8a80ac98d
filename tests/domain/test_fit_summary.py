"""The summary of a queue: it never hides a job that it was told of, whatever is under way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pandatx.domain.fit import Key, Mark, Want, fit_class, key_of, mark_of
from pandatx.domain.job import Job
from pandatx.domain.labels import LabelFilter
from pandatx.domain.summary import MISS_LASTS, Head, QueueSummary

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MANAGED = LabelFilter(frozenset(("managed",)))
ALL = Want(labels=MANAGED)
SMALL = Want(labels=MANAGED, memory=1200)  # inside the bucket of 1,001 to 1,500 MB


def key(share: str = "A", ram: int = 1100) -> Key:
    return Key(share, "SCORE", fit_class("managed", ram, 0, None))


def summary_of(*heads: tuple[Key, Mark]) -> QueueSummary:
    summary = QueueSummary()
    summary.replace(heads, NOW, summary.ticket())
    return summary


def test_keys_go_by_the_rank_of_their_share_then_by_their_mark_and_unknown_shares_come_last():
    heads = [(key("A"), Mark(-5, 1)), (key("B"), Mark(-9, 2)), (key("X"), Mark(-99, 3)), (key("B", 0), Mark(-10, 4))]
    found = summary_of(*heads).keys_for(ALL, {"A": 2, "B": 1}, NOW)
    assert [head.mark.panda_id for head in found] == [4, 2, 1, 3]
    assert [head.key for head in summary_of(*heads).keys_for(ALL, {"A": 2, "B": 1}, NOW, limit=1)] == [key("B", 0)]


def test_keys_that_cannot_fit_are_left_out_also_after_new_ones_came():
    summary = summary_of((key("A", 4000), Mark(-5, 1)))
    assert summary.keys_for(SMALL, {}, NOW) == []
    summary.activated(key("A", 900), 5, 2)
    assert summary.keys_for(SMALL, {}, NOW) == [Head(key("A", 900), Mark(-5, 2))]


def test_a_mark_moves_to_the_last_job_taken_and_back_for_a_job_that_is_given_back():
    summary = summary_of((key(), Mark(-5, 1)))
    summary.took(key(), [Mark(-5, 1), Mark(-5, 4)], ALL, summary.ticket())
    assert summary.keys_for(ALL, {}, NOW)[0].mark == Mark(-5, 4)
    summary.activated(key(), 5, 1)
    assert summary.keys_for(ALL, {}, NOW)[0].mark == Mark(-5, 1)


def test_a_want_that_passes_over_jobs_does_not_move_the_mark_past_them():
    summary = summary_of((key(), Mark(-5, 1)))
    summary.took(key(), [Mark(-5, 4)], SMALL, summary.ticket())
    assert summary.keys_for(ALL, {}, NOW)[0].mark == Mark(-5, 1)


def test_a_job_given_back_during_a_claim_is_not_hidden_by_that_claim():
    summary = summary_of((key(), Mark(-5, 1)))
    ticket = summary.ticket()
    summary.activated(key(), 5, 3)
    summary.took(key(), [Mark(-5, 1), Mark(-5, 9)], ALL, ticket)
    assert summary.keys_for(ALL, {}, NOW)[0].mark == Mark(-5, 3)
    summary.gave_fewer(key(), ALL, ticket, NOW)
    assert summary.keys_for(ALL, {}, NOW) == [Head(key(), Mark(-5, 3))]


def test_a_key_that_gave_fewer_is_dropped_only_if_nobody_else_could_find_more_there():
    summary = summary_of((key(), Mark(-5, 1)))
    summary.gave_fewer(key(), SMALL, summary.ticket(), NOW)
    assert summary.keys_for(SMALL, {}, NOW) == []
    assert len(summary.keys_for(ALL, {}, NOW)) == 1
    summary.gave_fewer(key(), ALL, summary.ticket(), NOW)
    assert summary.keys_for(ALL, {}, NOW) == [] and len(summary) == 0


def test_a_miss_is_forgotten_after_ten_seconds_or_when_a_job_comes_that_fits():
    summary = summary_of((key(), Mark(-5, 1)))
    summary.gave_fewer(key(), SMALL, summary.ticket(), NOW)
    assert summary.keys_for(SMALL, {}, NOW + MISS_LASTS - timedelta(milliseconds=1)) == []
    assert len(summary.keys_for(SMALL, {}, NOW + MISS_LASTS)) == 1
    large = Job(panda_id=8, prod_source_label="managed", gshare="A", resource_type="SCORE", min_ram_count=1300)
    small = Job(panda_id=9, prod_source_label="managed", gshare="A", resource_type="SCORE", min_ram_count=1150)
    summary.offered(large)
    assert summary.keys_for(SMALL, {}, NOW) == []
    summary.offered(small)
    assert len(summary.keys_for(SMALL, {}, NOW)) == 1


def test_a_miss_is_not_remembered_when_a_job_came_while_the_search_ran():
    summary = summary_of((key(), Mark(-5, 1)))
    ticket = summary.ticket()
    summary.activated(key(), 5, 3)
    summary.gave_fewer(key(), SMALL, ticket, NOW)
    assert len(summary.keys_for(SMALL, {}, NOW)) == 1


def test_a_reading_keeps_what_was_told_while_it_ran_and_forgets_the_rest():
    summary = summary_of((key("A"), Mark(-5, 1)), (key("B"), Mark(-5, 2)))
    ticket = summary.ticket()
    summary.activated(key("C"), 7, 9)
    summary.replace([(key("A"), Mark(-5, 6))], NOW + timedelta(seconds=1), ticket)
    found = {head.key.gshare: head.mark for head in summary.keys_for(ALL, {}, NOW)}
    assert found == {"A": Mark(-5, 6), "C": Mark(-7, 9)}
    assert summary.age(NOW + timedelta(seconds=3)) == timedelta(seconds=2)


def test_a_summary_that_was_never_read_is_older_than_anything():
    assert QueueSummary().age(NOW) > timedelta(days=10**6)


@pytest.mark.parametrize("rising", [True, False])
def test_ten_thousand_jobs_told_during_a_claim_leave_the_lowest_in_sight(rising):
    summary = summary_of((key(), Mark(-5, 1)))
    ticket = summary.ticket()
    numbers = range(10, 10_010) if rising else range(10_010, 10, -1)
    for number in numbers:
        summary.activated(key(), 5, number)
    summary.took(key(), [Mark(-5, 20_000)], ALL, ticket)
    assert summary.keys_for(ALL, {}, NOW)[0].mark <= Mark(-5, min(numbers))


class Dispatching(RuleBasedStateMachine):
    """Claims, readings and activations in every order, against a table of jobs that have their own truth."""

    def __init__(self) -> None:
        super().__init__()
        self.summary = QueueSummary()
        self.jobs: dict[int, Job] = {}
        self.activated: set[int] = set()  # by committed state
        self.locked: set[int] = set()  # by claims of ours that are under way
        self.claims: list[tuple] = []
        self.readings: list[tuple] = []
        self.now = NOW

    def seen_from(self, heads, want, n):
        """What the claim statement gives from these marks on."""
        for at in heads:
            order = sorted(self.activated - self.locked, key=lambda number: mark_of(self.jobs[number]))
            jobs = [self.jobs[number] for number in order]
            hits = [job for job in jobs if key_of(job) == at.key and mark_of(job) >= at.mark and want.fits(job)]
            yield at.key, hits[:n]

    @rule(priority=st.integers(0, 3), share=st.sampled_from("AAB"), ram=st.sampled_from([1100, 1100, 1300]))
    def activate(self, priority, share, ram):
        number = len(self.jobs) + 1
        job = Job(panda_id=number, gshare=share, resource_type="SCORE", min_ram_count=ram, current_priority=priority,
                  prod_source_label="managed")  # fmt: skip
        self.jobs[number] = job
        self.activated.add(number)
        self.summary.offered(job)

    @rule(want=st.sampled_from([ALL, ALL, SMALL]), n=st.sampled_from([1, 1, 3]))
    def begin_claim(self, want, n):
        ticket = self.summary.ticket()
        outcome = list(self.seen_from(self.summary.keys_for(want, {"A": 1}, self.now), want, n))
        self.locked |= {job.panda_id for _, jobs in outcome for job in jobs}
        self.claims.append((ticket, want, n, outcome))

    @rule(data=st.data(), committed=st.booleans())
    def end_claim(self, data, committed):
        if not self.claims:
            return
        ticket, want, n, outcome = self.claims.pop(data.draw(st.integers(0, len(self.claims) - 1)))
        taken = [job for _, jobs in outcome for job in jobs]
        self.locked -= {job.panda_id for job in taken}
        if not committed:
            for job in taken:
                self.summary.offered(job)
            return
        self.activated -= {job.panda_id for job in taken}
        for at, jobs in outcome:
            self.summary.took(at, [mark_of(job) for job in jobs], want, ticket)
            if len(jobs) < n:
                self.summary.gave_fewer(at, want, ticket, self.now)

    @rule()
    def begin_reading(self):
        heads: dict[Key, Mark] = {}
        for number in self.activated:
            job = self.jobs[number]
            heads[key_of(job)] = min(mark_of(job), heads.get(key_of(job), mark_of(job)))
        self.readings.append((self.summary.ticket(), heads))

    @rule(data=st.data())
    def end_reading(self, data):
        if self.readings:
            ticket, heads = self.readings.pop(data.draw(st.integers(0, len(self.readings) - 1)))
            self.summary.replace(heads.items(), self.now, ticket)

    @rule(data=st.data())
    def give_back(self, data):
        sent = sorted(self.jobs.keys() - self.activated - self.locked)
        if sent:
            job = self.jobs[data.draw(st.sampled_from(sent))]
            self.activated.add(job.panda_id)
            self.summary.offered(job)

    @invariant()
    def no_job_is_hidden(self):
        free = [self.jobs[number] for number in self.activated - self.locked]
        for want, now in ((ALL, self.now), (SMALL, self.now + MISS_LASTS)):
            marks = {head.key: head.mark for head in self.summary.keys_for(want, {}, now)}
            for job in free:
                if want.fits(job):
                    assert key_of(job) in marks and marks[key_of(job)] <= mark_of(job)


Dispatching.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestDispatching = Dispatching.TestCase
