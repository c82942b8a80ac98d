"""Making the metrics of METRICS, each once per period among all servers, older ones too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import frozen

from pandatx.clock import Clock
from pandatx.domain import metric_names as names
from pandatx.domain.metric_names import NOTHING, Metric
from pandatx.domain.share_metrics import gshare_preference
from pandatx.domain.site_metrics import site_classes, wait_statistics, with_long_queue
from pandatx.domain.user_metrics import USUAL_A, USUAL_B, Thresholds, user_evaluation, users_jobs_stats
from pandatx.services.facts import Facts
from pandatx.store import metric_collector as store
from pandatx.store.database import Database, Transaction

EARLY: Final = 0.02
"""Part of its period that a metric may come early: a daemon of the same period is never due at the very second."""
LIMIT: Final = 55.0
"""Seconds for one metric: no transaction lives over a minute (rule R5)."""
_HEARD_OF: Final = timedelta(days=4)
_SIX_HOURS: Final = timedelta(hours=6)
_DAY: Final = timedelta(days=1)
_CUTOFF: Final = timedelta(minutes=5)
_TEN_MINUTES: Final = 600.0

Values = dict[tuple[str, str], Any]


@frozen
class Locked:
    """Runs what makes a metric, unless somebody has begun it within its period."""

    _database: Database
    _clock: Clock
    _holder: str

    async def make(self, metric: Metric, work: Callable[[Transaction], Awaitable[int]]) -> int | None:
        """What ``work(tx)`` gives, None where it is not to be done now. The lock stays, as older servers expect."""
        now = self._clock.now()
        free_before = now - metric.period * (1 - EARLY)
        if not await self._database.transaction("metrics.lock", store.lock, metric, self._holder, now, free_before):
            return None
        return await self._database.limited(f"metrics.{metric.name}", LIMIT, 5.0, work)


@frozen
class MetricCollector:
    """A metric that another one is made of comes before it. Give it the scheduler's pool."""

    _database: Database
    _clock: Clock
    _facts: Facts
    _holder: str

    async def run_once(self, pause: Callable[[], Awaitable[None]]) -> dict[str, int]:
        """Make what is due; the number of values of each."""
        locked = Locked(self._database, self._clock, self._holder)
        done = {}
        for metric, values in (
            (names.GSHARE_PREFERENCE, self._shares),
            (names.WAIT_TIMES, self._wait_times),
            (names.SITE_CLASSES, self._site_classes),
            (names.USERS_JOBS, self._users_jobs),
            (names.USERS, self._users),
        ):
            number = await locked.make(metric, self._writing(metric, values))
            if number is not None:
                done[metric.name] = number
            await pause()
        return done

    def _writing(
        self, metric: Metric, values: Callable[[Transaction, datetime], Awaitable[Values]]
    ) -> Callable[[Transaction], Awaitable[int]]:
        async def write(tx: Transaction) -> int:
            now = self._clock.now()
            found = await values(tx, now)
            if found:
                await store.write(tx, metric, found, now)
            return len(found)

        return write

    async def _shares(self, tx: Transaction, now: datetime) -> Values:
        known = self._facts.known
        found = gshare_preference(known.shares, known.ranks, await store.share_use(tx))
        return {(NOTHING, share): value for share, value in found.items()}

    async def _wait_times(self, tx: Transaction, now: datetime) -> Values:
        waits = await store.waits(tx, now - _HEARD_OF, now)
        found = {site: wait_statistics(of_site) for site, of_site in waits.items()}
        means = {site: value["w_mean"] for site, value in found.items() if value["w_mean"]}
        queues = [self._facts.queue(site) for site in means]
        pushed = [queue is not None and queue.pushed for queue in queues]
        long = await store.long_queues(tx, means, pushed, now) if means else {}
        return {(site, NOTHING): with_long_queue(value, long.get(site)) for site, value in found.items()}

    async def _site_classes(self, tx: Transaction, now: datetime) -> Values:
        waits = await store.read_by_site(tx, names.WAIT_TIMES, now)
        if not waits:
            return {}
        types = {name: queue.resource_type for name, queue in self._facts.known.queues.items()}
        end, late, early = (_ten_minutes(now - age) for age in (_CUTOFF, _SIX_HOURS, _DAY))
        cores = await store.started(tx, early, late, end)
        hours = (end - late).total_seconds() / 3600, (end - early).total_seconds() / 3600
        rates = {site: (six / hours[0], day / hours[1]) for site, (six, day) in cores.items()}
        return {(site, NOTHING): value for site, value in site_classes(waits, types, rates).items()}

    async def _users_jobs(self, tx: Transaction, now: datetime) -> Values:
        return dict(users_jobs_stats(await store.user_jobs(tx)))

    async def _users(self, tx: Transaction, now: datetime) -> Values:
        parameters = self._facts.known.parameters
        thresholds = Thresholds(
            a=parameters.get("analy_eval", "USER_USAGE_THRESHOLD_A", USUAL_A),
            b=parameters.get("analy_eval", "USER_USAGE_THRESHOLD_B", USUAL_B),
        )
        stats = await store.read(tx, names.USERS_JOBS, now)
        classes = await store.read_by_site(tx, names.SITE_CLASSES, now)
        return {(NOTHING, NOTHING): user_evaluation(stats, classes, thresholds)}


def _ten_minutes(moment: datetime) -> datetime:
    seconds = moment.timestamp()
    return datetime.fromtimestamp(seconds - seconds % _TEN_MINUTES, moment.tzinfo)
