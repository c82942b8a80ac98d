"""copyArchive as it is put together: every step of lifecycle.md 3.3, in its order."""

from types import SimpleNamespace

import pytest
from endings import Told, job, seed_job

from pandatx.scheduler.daemon import Daemon
from pandatx.scheduler.daemons.copy_archive import CopyArchive
from pandatx.scheduler.run import Run
from pandatx.services.closer import Closer
from pandatx.services.facts import Facts
from pandatx.services.watcher import Watcher
from pandatx.sweeps import make_copy_archive

ORDER = [
    "merging",
    "stuck merging",
    "defined for long",
    "activated for long",
    "fast re-brokerage",
    "inactive queues",
    "stuck in defined",
    "builds and taskless jobs in defined",
    "long before activation",
    "long activated",
    "long starting",
    "users' jobs untouched for long",
    "long pending",
    "event merge in waiting",
    "long waiting",
    "long event service",
    "long event merge",
    "re-brokerage of user tasks",
    "alive for too long",
    "throttled for long",
    "invalid merge jobs",
    "jumbo jobs",
    "jobs behind ended builds",
    "old files of the cache",
    "old logs of tasks",
    "core dumps",
    "touch of sandboxes",
    "check of sandboxes",
]


class Loud:
    """Silence counts."""

    async def silence_counts(self) -> bool:
        return True


@pytest.fixture
def daemon(database, now, config) -> CopyArchive:
    facts, closer = Facts(database, now), Closer(database, now, Told().activate)
    core = SimpleNamespace(
        facts=facts,
        closer=closer,
        instances=Loud(),
        setup=SimpleNamespace(accept=lambda jobs: None),
        files=SimpleNamespace(peers=None),
        watcher=Watcher(database, now, facts, Loud(), closer),
    )
    return make_copy_archive(core, SimpleNamespace(config=config, clock=now, background=database))


def test_the_steps_stand_in_their_order_with_the_watcher_after_the_first_two(daemon):
    before, after = daemon._before, daemon._after
    assert [step.name for step in (*before, *after)] == ORDER
    assert [step.name for step in before] == ["merging", "stuck merging"]


async def test_a_run_does_all_of_them_and_tells_what_it_did(database, daemon, now, time):
    await seed_job(database, 1, jobstatus="running")
    await seed_job(database, 2, "jobsdefined4", jobstatus="pending", lockedby="jedi")
    await seed_job(database, 3, jobstatus="throttled", lockedby="jedi")
    time.advance(8 * 86400)
    run = Run(Daemon(name="copyArchive", period=2400, timeout=6000, code=daemon), now)
    outcome = await run.go()
    assert outcome.error is None
    done = {name: n for name, n in run.context.counts.items() if n}
    assert done == {"failed": 1, "defined for long": 1, "users' jobs untouched for long": 1}
    assert [(await job(database, n))["jobstatus"] for n in (1, 2, 3)] == ["failed", "closed", "closed"]
