"""The log files: one per part, under names that operators know, without secrets, and found again when moved away."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from string import Formatter
from time import monotonic
from typing import Any, BinaryIO

from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer  # type: ignore[import-untyped]

from pandatx.errors import EXIT_CONFIGURATION, StartFault
from pandatx.metrics import LOG_LINES_LOST

ACCESS, ERRORS = "panda_server_access_log", "panda_server_error_log"

_SERVICES = {
    "panda-JobDispatcher.log": "dispatch claims asks heartbeats spooling pilot_news events creds permissions_of_users",
    "panda-UserIF.log": "submission jobs why relays killing datasets owners async_requests secrets "
    "task_submission task_commands task_changes workflows task_queries job_counts metaconfig debug_mode user_metadata",
    "panda-api_harvester.log": "harvester workers",
    "panda-Setupper.log": "setup builds",
    "panda-Activator.log": "activator",
    "panda-Adder.log": "adder rounds registering retry_rules",
    "panda-Closer.log": "closer merges",
    "panda-Finisher.log": "finisher",
    "panda-Watcher.log": "watcher",
    "panda-copyArchive.log": "sweeper sweep_files sweep_merging sweep_rebrokerage sweep_sandboxes sweep_tasks",
    "panda-add_main.log": "queued_updates",
    "panda-add_sub.log": "site_data",
    "panda-archiver.log": "archiver",
    "panda-daemons.log": "daemons",
    "panda-metric_collector.log": "metric_collector",
    "panda-task_evaluator.log": "task_evaluator",
    "panda-pilotStreaming.log": "pilot_streaming",
    "panda-worker_synchronization.log": "worker_synchronization",
    "panda-datasetManager.log": "dataset_manager transfers arrivals left_open storages",
    "panda-ddm_handler.log": "messages",
    "panda-configurator.log": "queues configurator network sw_tags",
    "panda-cache_schedconfig.log": "schedconfig_cache",
    "panda-token_cache.log": "token_cache",
    "panda-tokens.log": "tokens issuers",
    "panda-ProxyCache.log": "user_proxies",
    "panda-carbon.log": "carbon",
    "panda-hs_scrapers.log": "benchmarks",
    "panda-async_request_processor.log": "async_work request_files",
    "panda-api_file_server.log": "uploads sandboxes sandboxes_elsewhere growing_files checkpoints logs_of_tasks",
    "panda-recover_lost_files.log": "recovery",
}
PARTS = (
    ("pandatx.scheduler.daemons.", "panda-{rest}.log"),
    ("pandatx.scheduler", "panda-daemons.log"),
    ("pandatx.workers", "panda-daemons.log"),
    *((f"pandatx.services.{name}", file) for file, names in _SERVICES.items() for name in names.split()),
    ("pandatx.identity.bearer", "panda-tokens.log"),
    ("pandatx.messaging", "panda-ddm_handler.log"),
    ("pandatx.resources.pilot", "panda-JobDispatcher.log"),
    ("pandatx.resources.harvester", "panda-api_harvester.log"),
    ("pandatx.resources.job", "panda-UserIF.log"),
    ("pandatx.store", "panda-DBProxy.log"),
    ("pandatx.ops.manhole", "panda-manhole.log"),
    ("", "panda-server.log"),
)
"""Which part of the code writes to which file, the first that fits; ``rest`` is the name after the prefix."""
SCRIPTS = {
    "pandatx.workers.record.": ("panda-daemons.log", "panda-{rest}.log"),
    "pandatx.workers.stdout.": ("panda-daemons.log", "panda-{rest}.log", "panda_daemon_stdout.log"),
    "pandatx.workers.stderr.": ("panda-daemons.log", "panda-{rest}.log", "panda_daemon_stderr.log"),
}
"""What daemon scripts say stands in several files (reference/lifecycle.md 4.6)."""
SCHEDULER = "pandatx.scheduler."
"""What the scheduler says is where operators of older servers find their daemon master's words, too."""

# Callers choose what stands in a log: no pattern may take a time that grows with the square of a text.
_SECRET_NAME = r"(?:passw(?:or)?d|passwd|secret|token|authorization|cookie|private_key)[\w-]{0,64}"
_SECRET_VALUE = r"('[^']*'|\"[^\"]*\"|[^\s,;&)}]+)"
_SECRET_FIELD = re.compile(_SECRET_NAME, re.IGNORECASE)
_SECRETS = (
    (re.compile(r"\b(bearer\s+)[^\s'\",;]+", re.IGNORECASE), r"\1***"),
    (
        re.compile(rf"({_SECRET_NAME}['\"]?\s{{0,20}}[=:]\s{{0,20}})(?!bearer\b){_SECRET_VALUE}", re.IGNORECASE),
        r"\1***",
    ),
    (re.compile(r"(?<![\w-])eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), "***"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), "***"),
)
_FORMATTER = Formatter()
LONGEST = 20_000
"""Characters of a message, and of a field, that are written."""


def without_secrets(text: str) -> str:
    """``text`` with what looks like a password, a token or a key made unreadable."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def line(event: LogEvent) -> str:
    """``time name: level message field=value...``, the time in UTC; a traceback follows on lines of its own."""
    name = event.get("log_namespace", "-")
    if "log_lines" in event:
        return _lines(event, name)
    level = event.get("log_level", LogLevel.info).name.upper()
    text = without_secrets(formatEvent(event)[:LONGEST].replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n"))
    head = f"{_time(event)} {name}: {level} {text}{_fields(event)}\n"
    failure = event.get("log_failure")
    if failure is None:
        return head
    return head + "".join(f"    {row}\n" for row in without_secrets(failure.getTraceback()).splitlines())


def _lines(event: LogEvent, name: str) -> str:
    """What a child has said: many lines at a time, each with the same head."""
    level = event.get("log_level", LogLevel.info).name.upper()
    head = f"{_time(event)} {name}: {level} {event['label']} pid={event['pid']}: "
    text = without_secrets("\n".join(event["log_lines"])).replace("\\", "\\\\").replace("\r", "\\r")
    return "".join(f"{head}{each}\n" for each in text.split("\n"))


def _time(event: LogEvent) -> str:
    stamp = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return f"{stamp:%Y-%m-%d %H:%M:%S},{stamp.microsecond // 1000:03}"


def files_of(namespace: str) -> tuple[str, ...]:
    """The files that a part of the code writes to."""
    for prefix, names in SCRIPTS.items():
        if namespace.startswith(prefix):
            return tuple(name.format(rest=namespace[len(prefix) :]) for name in names)
    own = file_of(namespace)
    return (
        (own, "panda_daemon_stdout.log") if own == "panda-daemons.log" and namespace.startswith(SCHEDULER) else (own,)
    )


def file_of(namespace: str) -> str:
    """The file that a part of the code writes to."""
    for prefix, name in PARTS:
        if namespace.startswith(prefix):
            return name.format(rest=namespace[len(prefix) :].split(".")[0])
    raise AssertionError("the last part takes all")


@define(eq=False)
class LogFile:
    """A file that is appended to, and opened again when it is no longer what its name stands for."""

    path: Path
    _now: Callable[[], float] = monotonic
    _descriptor: int = field(default=-1, init=False)
    _looked: float = field(default=float("-inf"), init=False)

    def write(self, text: str) -> None:
        """Append in one piece, so that processes may share the file. A full disk loses the line, not the server."""
        try:
            self._look()
            os.write(self._descriptor, text.encode(errors="backslashreplace"))
        except OSError:
            LOG_LINES_LOST.inc()

    def close(self) -> None:
        """The next line opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _look(self) -> None:
        now = self._now()
        if self._descriptor >= 0 and now - self._looked < 1:
            return
        self._looked = now
        if self._descriptor >= 0 and not self._is_current():
            self.close()
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o640)

    def _is_current(self) -> bool:
        try:
            named, opened = self.path.stat(), os.fstat(self._descriptor)
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


@implementer(ILogObserver)
@define(eq=False)
class Logs:
    """All log files of a server, as an observer of events; warnings and worse stand in the error log too.

    ``foreground`` gets every line beside, for a server at a terminal or in a container.
    """

    _directory: Path
    _level: LogLevel
    _foreground: BinaryIO | None = None
    _now: Callable[[], float] = monotonic
    _files: dict[str, LogFile] = field(factory=dict, init=False)
    _routes: dict[str, tuple[LogFile, ...]] = field(factory=dict, init=False)

    def open(self) -> None:
        """Make the folder; StartFault (exit 3) where nothing can be written."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            LogFile(self._directory / ERRORS)._look()
        except OSError as fault:
            raise StartFault(EXIT_CONFIGURATION, f"logdir {self._directory}: {fault.strerror}") from None

    def __call__(self, event: LogEvent) -> None:
        """Write an event. One at ``debug`` costs a comparison when the level is higher."""
        level = event.get("log_level", LogLevel.info)
        if level < self._level:
            return
        text = line(event)
        for each in self._route(event.get("log_namespace", "")):
            each.write(text)
        if level >= LogLevel.warn:
            self.file(ERRORS).write(text)
        if self._foreground is not None:
            self._foreground.write(text.encode(errors="backslashreplace"))
            self._foreground.flush()

    def access(self, text: str) -> None:
        """Write a line, given without its end, to the access log."""
        self.file(ACCESS).write(text + "\n")

    def file(self, name: str) -> LogFile:
        """The file of that name."""
        found = self._files.get(name)
        if found is None:
            found = self._files[name] = LogFile(self._directory / name, self._now)
        return found

    def reopen(self) -> None:
        """Close all; each opens again with its next line."""
        for each in self._files.values():
            each.close()

    def reopen_on_signal(self, reactor: Any) -> None:
        """On SIGUSR1, instead of twistd's own handler, which rotates a file of its own. From the main thread."""
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(self.reopen))

    def _route(self, namespace: str) -> tuple[LogFile, ...]:
        found = self._routes.get(namespace)
        if found is None:
            found = self._routes[namespace] = tuple(map(self.file, files_of(namespace)))
        return found


def _fields(event: LogEvent) -> str:
    """What an event carries beside its message, as name=value."""
    extra = [name for name in event if not name.startswith("log_") and name not in _NOT_OURS]
    if not extra:
        return ""
    said = _named(event.get("log_format") or "")
    shown = [(name, event[name]) for name in extra if name not in said]
    return "".join(f" {name}={'***' if _SECRET_FIELD.search(name) else _value(value)}" for name, value in shown)


_NOT_OURS = frozenset(("format", "message", "time", "system", "isError", "failure", "why", "log", "logLevel"))
_names: dict[str, frozenset[str]] = {}


def _named(template: str) -> frozenset[str]:
    known = _names.get(template)
    if known is None:
        found = (name for _, name, _, _ in _FORMATTER.parse(template) if name)
        known = frozenset(re.split(r"[.\[(]", name)[0] for name in found)
        if len(_names) < 2000:
            _names[template] = known
    return known


def _value(value: object) -> str:
    text = without_secrets(str(value)[:LONGEST])
    return repr(text) if not text or re.search(r"[\s=]", text) else text
