"""The command `twistd panda`: options, and what can be checked before the reactor runs."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from twisted.application.service import MultiService
from twisted.internet import reactor as _reactor
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python import usage

from pandatx.app import App
from pandatx.config import load, roles_of
from pandatx.errors import EXIT_USAGE, StartFault
from pandatx.ops.logs import Logs
from pandatx.parts import say

log = Logger()

reactor: Any = _reactor


class Options(usage.Options):
    """``twistd panda --config FILE [--roles http,daemon]``."""

    longdesc = "The PanDA server: the HTTPS API, the daemons and the process pool over one PostgreSQL database."
    optParameters = (
        ["config", "c", None, "panda_server.cfg; without it the usual places are searched"],
        ["roles", "r", None, "http, daemon or both; without it [pandatx] roles"],
    )

    def parseOptions(self, options: Any = None) -> None:
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
            if self["roles"] is not None:
                self["roles"] = roles_of(self["roles"])
        except (usage.UsageError, ValueError) as fault:
            say(str(fault))
            sys.exit(EXIT_USAGE)


def makeService(options: Options) -> MultiService:
    """The server; one line on stderr and in the log, and the exit code of rule R36, for what cannot work."""
    try:
        file = Path(options["config"]) if options["config"] else None
        config = load(file, os.environ)
        keep_steady(reactor)
        logs = Logs(config.ops.log_dir, LogLevel.lookupByName(config.ops.log_level))
        logs.open()
        globalLogPublisher.addObserver(logs)  # type: ignore[arg-type]
        app = App.make(reactor, config, file, options["roles"] or config.process.roles, os.environ, logs)
    except StartFault as fault:
        _tell(fault)
        sys.exit(fault.exit_code)
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(app.reload))
    logs.reopen_on_signal(reactor)
    return app.server(_end_with)


def keep_steady(timed: Any) -> None:
    """Have delays go by a clock that nobody sets, before there is the first of them. The reactor goes by the machine's:
    when that is put back by an hour, every timer is an hour late.
    """
    timed.seconds = monotonic


def _end_with(fault: StartFault) -> None:
    """Stop, and leave with the fault's exit code once everything has ended."""
    _tell(fault)
    reactor.addSystemEventTrigger("after", "shutdown", os._exit, fault.exit_code)
    reactor.callWhenRunning(reactor.stop)


def _tell(fault: StartFault) -> None:
    for line in str(fault).splitlines():
        say(line)
        log.error("{line}", line=line)
