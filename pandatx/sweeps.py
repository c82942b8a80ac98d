"""copyArchive put together: its steps in the order of reference/lifecycle.md 3.3."""

from __future__ import annotations

from pandatx.core import Core
from pandatx.filing import own_hosts
from pandatx.foundations import Foundations
from pandatx.scheduler.daemons.copy_archive import CopyArchive
from pandatx.services.builds import Builds, BuildSweep
from pandatx.services.killing import Killing
from pandatx.services.sweep_files import FileSweep
from pandatx.services.sweep_merging import MergingSweep
from pandatx.services.sweep_rebrokerage import RebrokerageSweep
from pandatx.services.sweep_sandboxes import SandboxSweep
from pandatx.services.sweep_tasks import TaskSweep
from pandatx.services.sweeper import AgeSweep, Pages, Step


def make_copy_archive(core: Core, ground: Foundations) -> CopyArchive:
    """Steps 1 and 2, the Watcher, and all others; the lists of queues of step 3 are asked for where they count."""
    config, clock, background = ground.config, ground.clock, ground.background
    pages = Pages(background)
    killing = Killing(background, clock, core.closer, core.setup.accept)
    ages = AgeSweep(pages, clock, core.facts, killing, core.watcher)
    rebrokerage = RebrokerageSweep(background, clock, core.facts, core.instances, killing)
    tasks = TaskSweep(background, pages, clock, killing)
    builds = BuildSweep(background, clock, Builds(background, clock))
    sandboxes = SandboxSweep(background, clock, core.files.peers, config.files.cache_dir, own_hosts(config))
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
            *sandboxes.steps(),
        ),
    )
