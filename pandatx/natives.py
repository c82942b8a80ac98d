"""The daemons that live in this process, each with the services that it works through."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from pandatx.core import Core
from pandatx.domain.async_work import EVENT_PICKING, FILE_RECOVERY, WORKFLOW
from pandatx.foundations import Foundations
from pandatx.outside import outside_natives
from pandatx.scheduler.context import Native
from pandatx.scheduler.daemons.add_main import AddMain
from pandatx.scheduler.daemons.add_sub import AddSub
from pandatx.scheduler.daemons.archiver import Archive
from pandatx.scheduler.daemons.async_request_daemon import AsyncRequestDaemon
from pandatx.scheduler.daemons.dataset_manager import ManageDatasets
from pandatx.scheduler.daemons.dummy_test import DummyTest
from pandatx.scheduler.daemons.load_queues import LoadQueues
from pandatx.scheduler.daemons.metric_collector import CollectMetrics
from pandatx.scheduler.daemons.pilot_streaming import StreamPilots
from pandatx.scheduler.daemons.request_files import TakeFiles
from pandatx.scheduler.daemons.setup_rescue import SetupRescue
from pandatx.scheduler.daemons.share_statistics import ShareStatistics
from pandatx.scheduler.daemons.task_evaluator import EvaluateTasks
from pandatx.scheduler.daemons.tmpwatch import TmpWatch
from pandatx.scheduler.daemons.worker_synchronization import SynchronizeWorkers
from pandatx.services.archiver import Archiver
from pandatx.services.arrivals import Arrivals
from pandatx.services.builds import Builds
from pandatx.services.dataset_manager import DatasetManager
from pandatx.services.left_open import LeftOpen
from pandatx.services.metric_collector import MetricCollector
from pandatx.services.pilot_streaming import PilotStreaming
from pandatx.services.queued_updates import LeftUpdates
from pandatx.services.site_data import SiteData, Turn
from pandatx.services.task_evaluator import TaskEvaluator
from pandatx.services.transfers import Transfers
from pandatx.services.worker_synchronization import WorkerSynchronization
from pandatx.sweeps import make_copy_archive


def make_natives(core: Core, ground: Foundations) -> Mapping[str, Native]:
    """By their names in scheduler/catalogue.py, which for those of the guide are its module names."""
    clock, background = ground.clock, ground.background
    add_main = AddMain(core.adder, LeftUpdates(background, clock))
    return {
        "add": add_main,
        "add_main": add_main,
        "add_sub": AddSub(_site_data(core, ground)),
        "copyArchive": make_copy_archive(core, ground),
        "dummy_test": DummyTest(),
        "datasetManager": _dataset_manager(core, ground),
        **_metrics(core, ground),
        "pilotStreaming": StreamPilots(PilotStreaming(background, clock, core.facts)),
        "tmpwatch": TmpWatch(),
        "worker_synchronization": SynchronizeWorkers(WorkerSynchronization(background, clock)),
        **outside_natives(core, ground),
        "async_request_daemon": AsyncRequestDaemon(core.requests.work),
        "process_workflow_files_daemon": TakeFiles(core.requests.files, WORKFLOW),
        "recover_lost_files_daemon": TakeFiles(core.requests.files, FILE_RECOVERY),
        "evpPD2P": TakeFiles(core.requests.files, EVENT_PICKING),
        "share_statistics": ShareStatistics(core.statistics),
        "queue_loader": LoadQueues(core.queues),
        "setup_rescue": SetupRescue(core.setup),
        "archiver": Archive(_archiver(ground)),
    }


def _archiver(ground: Foundations) -> Archiver:
    jobs = ground.config.jobs
    return Archiver(ground.background, ground.clock, jobs.archive, timedelta(days=jobs.archive_after), jobs.retention)


def _site_data(core: Core, ground: Foundations) -> SiteData:
    jobs = ground.config.jobs
    turn = Turn(interval=jobs.nrun_interval, hosts=jobs.nrun_hosts, number=jobs.nrun_snum)
    return SiteData(ground.background, ground.clock, core.facts, turn)


def _dataset_manager(core: Core, ground: Foundations) -> ManageDatasets:
    clock, background = ground.clock, ground.background
    builds = Builds(background, clock)
    return ManageDatasets(
        DatasetManager(background, clock, core.storages, core.closer),
        LeftOpen(background, clock, core.closer, builds),
        Transfers(background, clock, core.storages, core.finisher, core.closer),
        Arrivals(background, clock, core.storages, core.activator),
    )


def _metrics(core: Core, ground: Foundations) -> Mapping[str, Native]:
    clock, background, instance = ground.clock, ground.background, ground.state.instance
    return {
        "metric_collector": CollectMetrics(MetricCollector(background, clock, core.facts, instance)),
        "task_evaluator": EvaluateTasks(TaskEvaluator(background, clock, core.facts, instance)),
    }
