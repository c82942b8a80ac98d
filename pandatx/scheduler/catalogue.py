"""The daemons that live in this server, and how often they run unless the operator's file says otherwise."""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen(kw_only=True)
class BuiltIn:
    """A native daemon. ``ours`` runs whether or not the operator's [daemon] section names it (R42); times in seconds.

    The code itself is given by natives.py under the same name: an object with ``async def run(context)``.
    """

    name: str
    period: float
    timeout: float | None = None
    sync: bool = False
    loop: bool = False
    ours: bool = True


_ROWS: Final = (
    # Of the PanDA daemon guide; they run when the operator names them.
    BuiltIn(name="add_main", period=240, loop=True, ours=False),
    BuiltIn(name="add_sub", period=240, ours=False),
    BuiltIn(name="copyArchive", period=2400, sync=True, ours=False),
    BuiltIn(name="datasetManager", period=2400, sync=True, ours=False),
    BuiltIn(name="metric_collector", period=300, ours=False),
    BuiltIn(name="task_evaluator", period=300, ours=False),
    BuiltIn(name="pilotStreaming", period=300, sync=True, ours=False),
    BuiltIn(name="worker_synchronization", period=1800, sync=True, ours=False),
    BuiltIn(name="process_workflow_files_daemon", period=60, ours=False),
    BuiltIn(name="recover_lost_files_daemon", period=600, ours=False),
    BuiltIn(name="evpPD2P", period=600, ours=False),
    # Ours.
    BuiltIn(name="async_request_daemon", period=10),
    BuiltIn(name="share_statistics", period=60, sync=True),
    BuiltIn(name="queue_loader", period=60),
    BuiltIn(name="setup_rescue", period=60, sync=True),
    BuiltIn(name="archiver", period=3600, sync=True, loop=True),
)
CATALOGUE: Final = {row.name: row for row in _ROWS}

# Where operators' files say that the scripts of the guide are.
GUIDE_PACKAGE: Final = "pandaserver.daemons.scripts"
