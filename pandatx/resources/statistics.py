"""The group ``statistics``: how many jobs are where (reference/wire.md 4, 5.1). Nobody needs to say who they are."""

from __future__ import annotations

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.query_requests import SourceType, TimeWindow
from pandatx.domain.requests import NoArguments
from pandatx.resources.api import JSON, PICKLED, Answer, Call, anyone, operation
from pandatx.services.job_counts import JobCounts

ByStatus = dict[str, int]


@frozen
class StatisticsResource:
    """For Harvester and monitors; what has not ended is as of the last minute or two."""

    _counts: JobCounts

    @operation(
        "statistics/active_job_stats_by_site",
        legacy="getJobStatisticsPerSite",
        verb="GET",
        gives=dict[str, ByStatus],
        allows=anyone,
        form=PICKLED,
    )
    async def active_job_stats_by_site(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Count the jobs that have not ended, by queue and status."""
        found = await self._counts.by_site()
        return Answer(data=found, value=found)

    @operation(
        "statistics/active_job_detailed_stats_by_site",
        verb="GET",
        gives=dict[str, dict[str, dict[str, ByStatus]]],
        allows=anyone,
    )
    async def active_job_detailed_stats_by_site(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Count the jobs that have not ended, by queue, resource type, label and status."""
        return Answer(data=await self._counts.by_site_type_and_label())

    @operation("statistics/job_stats_by_cloud", verb="GET", asks=SourceType, gives=dict[str, ByStatus], allows=anyone)
    async def job_stats_by_cloud(self, caller: Caller, request: SourceType, call: Call) -> Answer:
        """Count jobs of production or analysis by cloud and status, with those that ended within 12 hours."""
        return Answer(data=await self._counts.by_cloud(request.type))

    @operation(
        "statistics/production_job_stats_by_cloud_and_processing_type",
        verb="GET",
        gives=dict[str, dict[str, ByStatus]],
        allows=anyone,
    )
    async def production_job_stats_by_cloud_and_processing_type(
        self, caller: Caller, request: NoArguments, call: Call
    ) -> Answer:
        """Count jobs of production by cloud, processing type and status, with those that ended within 12 hours."""
        return Answer(data=await self._counts.by_cloud_and_processing())

    @operation(
        "statistics/job_stats_by_site_and_resource_type",
        verb="GET",
        asks=TimeWindow,
        gives=dict[str, dict[str, ByStatus]],
        allows=anyone,
    )
    async def job_stats_by_site_and_resource_type(self, caller: Caller, request: TimeWindow, call: Call) -> Answer:
        """Count jobs by queue, resource type and status, with those that ended within a time."""
        return Answer(data=await self._counts.by_site_and_type(request.time_window))

    @operation(
        "statistics/job_stats_by_site_share_and_resource_type",
        legacy="get_job_statistics_per_site_label_resource",
        verb="GET",
        asks=TimeWindow,
        gives=dict[str, dict[str, dict[str, ByStatus]]],
        allows=anyone,
        form=JSON,
    )
    async def job_stats_by_site_share_and_resource_type(
        self, caller: Caller, request: TimeWindow, call: Call
    ) -> Answer:
        """Count jobs by queue, label of their share, resource type and status, with those that ended within a time."""
        found = await self._counts.by_site_share_and_type(request.time_window)
        return Answer(data=found, value=found)
