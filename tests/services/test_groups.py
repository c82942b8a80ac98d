"""What is refused of one job stops no other."""

import psycopg2
import pytest

from pandatx.errors import Busy, DatabaseAway
from pandatx.services.groups import Groups


class Work:
    """Counts, and fails over some ids."""

    def __init__(self, bad, fault):
        self.bad, self.fault, self.asked = bad, fault, []

    async def do(self, ids):
        self.asked.append(list(ids))
        if self.bad & set(ids):
            raise self.fault
        return len(ids)


async def test_of_a_group_that_is_refused_each_is_done_alone():
    groups, work = Groups(), Work({2}, psycopg2.DataError("no"))
    await groups.apart([1, 2, 3], work.do)
    await groups.apart([4, 5], work.do)
    assert work.asked == [[1, 2, 3], [1], [2], [3], [4, 5]]
    with pytest.raises(psycopg2.DataError):
        groups.end()
    assert groups._done == 4


async def test_a_group_that_takes_too_long_is_left_and_the_next_one_is_done():
    groups, work = Groups(), Work({2}, Busy())
    await groups.apart([1, 2, 3], work.do)
    await groups.take(work.do, [4, 5])
    assert work.asked == [[1, 2, 3], [4, 5]]
    with pytest.raises(Busy):
        groups.end()


@pytest.mark.parametrize("how", ["apart", "take"])
async def test_without_a_database_nothing_goes_on(how):
    groups, work = Groups(), Work({1}, DatabaseAway())
    with pytest.raises(DatabaseAway):
        await (groups.apart([1, 2], work.do) if how == "apart" else groups.take(work.do, [1, 2]))
    assert work.asked == [[1, 2]]


async def test_where_all_goes_well_it_is_counted():
    groups, work = Groups(), Work(set(), Busy())
    await groups.apart([1, 2], work.do)
    await groups.take(work.do, [3])
    assert groups.end() == 3
