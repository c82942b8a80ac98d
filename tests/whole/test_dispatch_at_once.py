"""Many pilots at once, over real connections."""

from __future__ import annotations

import threading
from collections import Counter

from load import Connection, Pilot, Told, broken_promises
from server import Home


def test_fifty_pilots_of_both_dialects_at_once_get_twenty_jobs_once_each(home: Home) -> None:
    tables = home.tables()
    ids = tables.activate(20)
    with home.server():
        told, empty = Told(), []
        barrier = threading.Barrier(50)

        def ask(number: int) -> None:
            pilot = Pilot(Connection(home), told, bool(number % 2), f"node{number}")
            barrier.wait(30)
            if pilot.get_job() is None:
                empty.append(number)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(job.panda_id for job, _ in told.jobs) == list(ids)
        assert len(empty) == 30
        assert broken_promises(told, tables) == []
        assert Counter(status for ((_, status),) in tables.statuses().values()) == {"sent": 20}
        tables.close()
