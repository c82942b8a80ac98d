"""copyArchive put together: its steps in the order of reference/lifecycle.md 3.3."""

from __future__ import annotations

from pandatx.clients.sandboxes import LARGEST, LIMIT, Sandboxes
from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.core import Core
from pandatx.filing import own_hosts
from pandatx.scheduler.daemons.copy_archive import CopyArchive
from pandatx.services.builds import Builds, BuildSweep
from pandatx.services.killing import Killing
from pandatx.services.sweep_files import FileSweep
from pandatx.services.sweep_merging import MergingSweep
from pandatx.services.sweep_rebrokerage import RebrokerageSweep
from pandatx.services.sweep_sandboxes import SandboxSweep
from pandatx.services.sweep_tasks import TaskSweep
from pandatx.services.sweeper import AgeSweep, Pages, Step
from pandatx.store.database import Database


def make_copy_archive(core: Core, config: Config, clock: Clock, background: Database) -> CopyArchive:
    """Steps 1 and 2, the Watcher, and all others; the lists of queues of step 3 are asked for where they count."""
    pages = Pages(background)
    killing = Killing(background, clock, core.closer, core.setup.accept)
    ages = AgeSweep(pages, clock, core.facts, killing, core.watcher)
    rebrokerage = RebrokerageSweep(background, clock, core.facts, core.instances, killing)
    tasks = TaskSweep(background, pages, clock, killing)
    builds = BuildSweep(background, clock, Builds(background, clock))
    return CopyArchive(
        core.watcher,
        MergingSweep(background, pages, clock, killing, core.closer).steps(),
        (
            *ages.old(),
            *rebrokerage.fast(),
            *rebrokerage.inactive(),
            *ages.waiting(),
            *rebrokerage.user_tasks(),
            *ages.oldest(),
            *tasks.steps(),
            Step("jobs behind ended builds", builds.run),
            *FileSweep(clock, config.files.cache_dir, config.files.logdir).steps(),
            *_sandboxes(config, clock, background).steps(),
        ),
    )


def _sandboxes(config: Config, clock: Clock, background: Database) -> SandboxSweep:
    web = Web(clock.reactor, config.http.ca_dir, config.outside.client_certificate, LIMIT, LARGEST)
    client = Sandboxes(web, config.http.url_https_port)
    return SandboxSweep(background, clock, client, config.files.cache_dir, own_hosts(config))
