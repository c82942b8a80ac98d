"""The daemons that live in this process, each with the services that it works through."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.core import Core
from pandatx.domain.async_work import EVENT_PICKING, FILE_RECOVERY, WORKFLOW
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
from pandatx.store.database import Database
from pandatx.sweeps import make_copy_archive


def make_natives(core: Core, config: Config, clock: Clock, background: Database, instance: str) -> Mapping[str, Native]:
    """By their names in scheduler/catalogue.py, which for those of the guide are its module names.

    ``instance`` is this server, as it holds locks.
    """
    add_main = AddMain(core.adder, LeftUpdates(background, clock))
    return {
        "add": add_main,
        "add_main": add_main,
        "add_sub": AddSub(_site_data(core, config, clock, background)),
        "copyArchive": make_copy_archive(core, config, clock, background),
        "dummy_test": DummyTest(),
        "datasetManager": _dataset_manager(core, clock, background),
        **_metrics(core, clock, background, instance),
        "pilotStreaming": StreamPilots(PilotStreaming(background, clock, core.facts)),
        "tmpwatch": TmpWatch(),
        "worker_synchronization": SynchronizeWorkers(WorkerSynchronization(background, clock)),
        **outside_natives(core, config, clock, background),
        "async_request_daemon": AsyncRequestDaemon(core.requests.work),
        "process_workflow_files_daemon": TakeFiles(core.requests.files, WORKFLOW),
        "recover_lost_files_daemon": TakeFiles(core.requests.files, FILE_RECOVERY),
        "evpPD2P": TakeFiles(core.requests.files, EVENT_PICKING),
        "share_statistics": ShareStatistics(core.statistics),
        "queue_loader": LoadQueues(core.queues),
        "setup_rescue": SetupRescue(core.setup),
        "archiver": Archive(_archiver(config, clock, background)),
    }


def _archiver(config: Config, clock: Clock, background: Database) -> Archiver:
    jobs = config.jobs
    return Archiver(background, clock, jobs.archive, timedelta(days=jobs.archive_after), jobs.retention)


def _site_data(core: Core, config: Config, clock: Clock, background: Database) -> SiteData:
    jobs = config.jobs
    turn = Turn(interval=jobs.nrun_interval, hosts=jobs.nrun_hosts, number=jobs.nrun_snum)
    return SiteData(background, clock, core.facts, turn)


def _dataset_manager(core: Core, clock: Clock, background: Database) -> ManageDatasets:
    builds = Builds(background, clock)
    return ManageDatasets(
        DatasetManager(background, clock, core.storages, core.closer),
        LeftOpen(background, clock, core.closer, builds),
        Transfers(background, clock, core.storages, core.finisher, core.closer),
        Arrivals(background, clock, core.storages, core.activator),
    )


def _metrics(core: Core, clock: Clock, background: Database, instance: str) -> Mapping[str, Native]:
    return {
        "metric_collector": CollectMetrics(MetricCollector(background, clock, core.facts, instance)),
        "task_evaluator": EvaluateTasks(TaskEvaluator(background, clock, core.facts, instance)),
    }
