"""How busy pilots are at each queue: the rows of SITEDATA (reference/lifecycle.md 3.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from attrs import frozen

WINDOWS: Final = (3, 1)
"""Hours that requests are counted over."""
SUMS: Final = frozenset(("production", "analysis"))
"""Flags of the rows for all servers together; any other flag of these windows is the name of a host, or test."""
TEST: Final = "test"
SNAPSHOT: Final = "snapshot"
MOST: Final = "max"
_ANALYSIS_PREFIX: Final = "ANALY_"
_SITE_WIDTH: Final = 60
_FLAG_WIDTH: Final = 30


@frozen(kw_only=True)
class Requests:
    """What pilots have asked for: jobs, in vain, and to take a report."""

    get_job: int = 0
    no_job: int = 0
    update_job: int = 0

    def __add__(self, other: Requests) -> Requests:
        return Requests(
            get_job=self.get_job + other.get_job,
            no_job=self.no_job + other.no_job,
            update_job=self.update_job + other.update_job,
        )


@frozen(kw_only=True)
class Row:
    """A row of SITEDATA without its hours; ``flag`` is a host or a sum."""

    site: str
    flag: str
    requests: Requests

    @property
    def order(self) -> tuple[str, str]:
        return self.site, self.flag


def flag_of(host: str) -> str:
    """How a host is called in SITEDATA."""
    return host.split(".")[0][:_FLAG_WIDTH]


def sum_flag(site: str) -> str:
    """The flag of the sum of a queue, by which brokers read it."""
    return "analysis" if site.startswith(_ANALYSIS_PREFIX) else "production"


def rows(ours: Iterable[Row], others: Iterable[Row], known: Collection[str]) -> list[Row]:
    """The rows of one window, in the order in which they are to be written.

    ``ours`` are counted, the same host perhaps more than once (several servers on it); ``others`` are rows that older
    servers keep under their hosts' names. A queue that is not ``known`` is a pilot's slip. Each host of ours has a
    row, and each queue the sum of all hosts.
    """
    by_host: defaultdict[tuple[str, str], Requests] = defaultdict(Requests)
    for row in ours:
        if row.site in known and len(row.site) <= _SITE_WIDTH:
            by_host[row.site, flag_of(row.flag)] += row.requests
    hosts = {flag for _, flag in by_host}
    sums: defaultdict[str, Requests] = defaultdict(Requests)
    for (site, _), requests in by_host.items():
        sums[site] += requests
    for row in others:
        if row.site in sums and row.flag not in hosts | SUMS | {TEST}:
            sums[row.site] += row.requests
    found = [Row(site=site, flag=flag, requests=requests) for (site, flag), requests in by_host.items()]
    found += [Row(site=site, flag=sum_flag(site), requests=requests) for site, requests in sums.items()]
    return sorted(found, key=lambda row: row.order)


def is_turn(now: datetime, interval: int, hosts: int, number: int) -> bool:
    """Whether this server, the ``number``th of ``hosts``, counts running jobs now; each has ``interval`` minutes."""
    return now.minute // interval % hosts == number


def snapshot_hours(now: datetime) -> int:
    """What stands for the hours in a row with the number of running jobs at a minute of the day."""
    return 1000 + now.hour * 60 + now.minute
