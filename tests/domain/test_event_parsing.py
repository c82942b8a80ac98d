"""Whatever a client says of event ranges is read or refused, and never breaks what reads it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.event_requests import RangeUpdates, pairs_of
from pandatx.domain.events import EventJob, RangeId, RangeUpdate, ids_of, judge, read_updates

NAMES = ("eventRangeID", "eventStatus", "eventRanges", "zipFile", "lfn", "fsize", "adler32", "objstoreID", "errorCode",
         "errorDiag", "pathConvention", "numEvents", "task_id", "panda_id", "job_id")  # fmt: skip
WORDS = ("finished", "failed", "fatal", "running", "7-50-3-1-5", "7-51-3-1-5", "8-50-3-1-32767", "0-0-0-0-0")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(WORDS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner),
    max_leaves=12,
)
ENDS = st.fixed_dictionaries(
    {"eventRangeID": st.sampled_from(WORDS), "eventStatus": st.sampled_from(WORDS)},
    optional={name: VALUES for name in NAMES[3:]},
)
JOBS = {50: EventJob(panda_id=50, job_status="running"), 51: EventJob(panda_id=51, job_status="failed")}
SMALL, INTEGER, BIG = 2**15, 2**31, 2**63


@given(st.lists(VALUES | ENDS, max_size=6))
def test_every_element_of_an_update_gets_an_answer_and_what_is_kept_fits_the_table(value):
    read = read_updates(value)
    for each in read:
        if isinstance(each, RangeUpdate):
            assert RangeId.parse(str(each.id)) == each.id
            assert each.error_diag is None or ("\0" not in each.error_diag and len(each.error_diag) <= 500)
            for number, bound in ((each.objstore_id, BIG), (each.error_code, INTEGER), (each.path_convention, SMALL)):
                assert number is None or -bound < number < bound
            if each.zip is not None:
                assert each.zip.lfn
                assert 0 <= each.zip.fsize < BIG
    judged = judge(read, JOBS, early=False)
    assert len(judged.returns) == len(read)
    assert set(judged.commands) == {job for _, job in ids_of(read)}
    assert all(each.id.job_id == 50 for each in judged.accepted)
    assert len({each.id for each in judged.accepted}) == len(judged.accepted)


@given(st.text(max_size=60) | VALUES.map(json.dumps) | VALUES)
def test_an_update_is_read_or_refused(value):
    request = RangeUpdates(event_ranges=value)
    assert request.large is False
    try:
        assert isinstance(request.read(), list)
    except ValueError as wrong:
        assert str(wrong) in ("is not JSON", "is not a list of event ranges")


@given(VALUES | VALUES.map(json.dumps) | VALUES.map(repr) | st.lists(VALUES.map(repr) | VALUES, max_size=4))
def test_jobs_are_read_or_refused(value):
    try:
        pairs = pairs_of(value)
    except ValueError as wrong:
        assert str(wrong).startswith(("is not JSON", "must be objects"))
    else:
        assert all(0 <= number < BIG for pair in pairs for number in pair)
