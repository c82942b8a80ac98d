"""The real, unmodified PanDA pilot as a child process: fetch its sources, run a copy of them, read its log, end it.

Nothing of the pilot is kept in this repository: its sources come from PyPI or from a directory. bench/demo.py runs its
pilots with this module too.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

PYPI_VERSION = "3.7.0.36"
SUMMARY = re.compile(r"job summary report")
JOB_ID = re.compile(r"PanDA job id: (\d+)")
JOB_STATE = re.compile(r"pilot state: (\w+)")
# The older pilot takes transforms from two hosts only; with HARVESTER_WORKDIR it copies the script of that name.
OLD_TRANSFORM_BASE = "https://storage.googleapis.com/drp-us-central1-containers"
IGNORED = shutil.ignore_patterns(".git", "__pycache__", "*.pyc", "doc", "*.egg-info")


class PilotFault(Exception):
    """The pilot did not do what the caller waited for; the text ends with the tail of its log."""


@frozen(kw_only=True)
class Place:
    """Where a pilot works and as whom. ``home`` is a directory made by ``pandatx init``. Without a ``proxy`` it comes
    with the token that ``environ`` names."""

    home: Path
    server: str  # https://host:port
    web: str  # the base URL of /cache/ and /trf/: plain HTTP, or the server's
    queue: str = "LOCAL"
    label: str = "user"
    proxy: str = "pilot-proxy.pem"
    environ: Mapping[str, str] = field(factory=dict)

    @property
    def transform_base(self) -> str:
        return f"{self.web}/trf/user"


def obtain(directory: str | Path | None, cache: Path) -> Path:
    """The pilot's sources: ``directory`` if one is given, else panda-pilot of PyPI, unpacked in ``cache``."""
    if directory:
        found = Path(directory).expanduser().resolve()
        if not (found / "pilot.py").is_file():
            raise PilotFault(f"{found}: no pilot.py here; PILOT must name a checkout of PanDAWMS/pilot3")
        return found
    target = cache / f"panda-pilot-{PYPI_VERSION}"
    if not (target / "pilot.py").is_file():
        _download(cache)
    return target.resolve()


def _download(cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(cache), f"panda-pilot=={PYPI_VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PilotFault(f"panda-pilot {PYPI_VERSION} could not be fetched from PyPI\n{done.stderr.strip()}")
    with tarfile.open(next(cache.glob(f"panda[-_]pilot-{PYPI_VERSION}.tar.gz"))) as archive:
        archive.extractall(cache, filter="data")


def version(source: Path) -> str:
    return (source / "PILOTVERSION").read_text().strip()


def takes_base_urls(source: Path) -> bool:
    """Whether this pilot downloads transforms from where it is told (-g); the older one knows its hosts only."""
    files = (source / "arguments.py", source / "pilot.py")
    return any("--baseurls" in file.read_text() for file in files if file.is_file())


def transformation(source: Path, place: Place, script: str) -> str:
    """The transformation that a job must name so that this pilot runs ``script`` of the place's trf/user."""
    return f"{place.transform_base if takes_base_urls(source) else OLD_TRANSFORM_BASE}/{script}"


def hashed_authorities(home: Path) -> Path:
    """A directory in which OpenSSL and curl find ``home``'s CA by the hash of its name, as in X509_CERT_DIR."""
    directory = home / "certificates"
    directory.mkdir(exist_ok=True)
    hashing = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(home / "ca.pem")]
    name = subprocess.run(hashing, capture_output=True, text=True, check=True).stdout.strip()
    link = directory / f"{name}.0"
    if not link.exists():
        shutil.copyfile(home / "ca.pem", link)
    return directory


def configuration(source: Path, target: Path, heartbeat: int) -> Path:
    """A copy of the pilot's default.cfg with heartbeats every ``heartbeat`` seconds (its own: 1800, debugging 60)."""
    text = (source / "pilot/util/default.cfg").read_text()
    text = re.sub(r"(?m)^(heartbeat|debug_heartbeat):.*$", rf"\1: {heartbeat}", text)
    target.write_text(text)
    return target


def command(source: Path, place: Place, work: Path, options: tuple[str, ...] = ()) -> list[str]:
    """The command line that took jobs to finished with 3.11.5.1 and with 3.7.0.36; run it in a copy of the sources."""
    host, port = place.server.rsplit(":", 1)
    line = [sys.executable, "pilot.py", "-w", "generic", "--pilot-user", "generic", "-q", place.queue]
    line += ["-j", place.label, "--url", host, "-p", port, "-a", str(work), "--cleanup", "False"]
    line += ["--queuedata-url", f"{place.web}/cache/schedconfig/{{pandaqueue}}.all.json"]
    line += ["--storagedata-url", str(place.home / "ddmendpoints.json"), "--use-rucio-traces", "False"]
    if takes_base_urls(source):
        line += ["-g", place.transform_base, "-b"]
    return [*line, *options]


def environment(source: Path, place: Place, work: Path, config: Path | None) -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "USER", "LOGNAME", "TMPDIR", "LD_LIBRARY_PATH")
    values = {name: os.environ[name] for name in kept if name in os.environ} | {
        "X509_CERT_DIR": str(hashed_authorities(place.home)),
        "LOCAL_AGIS_SCHEDCONF": str(place.home / "queues.json"),
        "PILOT_NOKILL": "1",  # else its clean-up kills every process of the user whose parent is process 1
        "NO_CVMFS_OK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if place.proxy:
        values["X509_USER_PROXY"] = str(place.home / place.proxy)
    if config:
        values["HARVESTER_PILOT_CONFIG"] = str(config)
    if not takes_base_urls(source):
        values["HARVESTER_WORKDIR"] = str(place.home / "trf/user")
    return {**values, **place.environ}


class Pilot:
    """One running pilot. Its output is read by a thread of its own, so waiting is for a line and never for a time."""

    def __init__(
        self, source: Path, place: Place, directory: Path, *, heartbeat: int = 0, options: tuple[str, ...] = ()
    ) -> None:
        self._source = source
        self._place = place
        self._directory = directory
        self._heartbeat = heartbeat
        self._options = options
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> Pilot:
        """Copy the sources (the pilot writes into its own directory) and run it there."""
        copy, work = self._directory / "pilot3", self._directory / "work"
        shutil.copytree(self._source, copy, ignore=IGNORED)
        work.mkdir(parents=True)
        config = configuration(copy, self._directory / "pilot.cfg", self._heartbeat) if self._heartbeat else None
        self._process = subprocess.Popen(
            command(copy, self._place, work, self._options),
            cwd=copy,
            env=environment(copy, self._place, work, config),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )  # not in a session of its own: the pilot calls setpgrp, which a session's leader may not
        self._reader = threading.Thread(target=self._read, name=f"log of pilot {self.pid}", daemon=True)
        self._reader.start()
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None, "the pilot was not started"
        return self._process.pid

    @property
    def ended(self) -> bool:
        with self._news:
            return self._ended

    @property
    def log(self) -> str:
        with self._news:
            return "".join(self._lines)

    def states(self) -> dict[int, str]:
        """PandaID -> the state that the pilot's own summary names, for each job it is done with."""
        reports = SUMMARY.split(self.log)[1:]
        found = ((JOB_ID.search(report), JOB_STATE.search(report)) for report in reports)
        return {int(job[1]): state[1] for job, state in found if job and state}

    def wait_for(self, pattern: str | re.Pattern[str], timeout: float) -> str:
        """The first line of the log with ``pattern``; PilotFault when the pilot ends or ``timeout`` s pass first."""
        wanted = re.compile(pattern)
        found = self._wait(lambda: next(filter(wanted.search, self._lines), ""), wanted.pattern, timeout)
        return str(found)

    def wait_for_jobs(self, number: int, timeout: float) -> dict[int, str]:
        """Wait until the pilot is done with ``number`` jobs, and tell their states."""

        def done() -> bool:
            return len(JOB_STATE.findall("".join(self._lines))) >= number

        self._wait(done, f"{number} job summaries", timeout)
        return self.states()

    def wait(self, timeout: float) -> int:
        """Let the pilot end by itself (a minute after its last job) and give its exit code, which means nothing."""
        assert self._process is not None and self._reader is not None
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise PilotFault(f"pilot {self.pid} did not end within {timeout:g} s\n{self._tail()}") from None
        self._reader.join(timeout)
        return code

    def stop(self) -> None:
        """End this pilot and what it started, by process id; nothing happens to one that has ended."""
        if self._process is None:
            return
        if self._process.poll() is None:
            for pid in (*descendants(self._process.pid), self._process.pid):
                _kill(pid)
            self._process.wait()
        if self._reader is not None:
            self._reader.join(10)
        (self._directory / "stdout.txt").write_text(self.log)

    def __enter__(self) -> Pilot:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _wait(self, seen: Callable[[], Any], what: str, timeout: float) -> Any:
        with self._news:
            self._news.wait_for(lambda: self._ended or seen(), timeout)
            found = seen()
            if not found:
                why = "ended" if self._ended else f"waited {timeout:g} s"
                raise PilotFault(f"pilot {self.pid}: no {what} in its log ({why})\n{self._tail()}")
            return found

    def _tail(self) -> str:
        return "".join(self._lines[-40:])


def descendants(pid: int) -> list[int]:
    """Children of a process and theirs, deepest first."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [*descendants(child), child]
    return found


def lives(pid: int) -> bool:
    """Whether a process runs; one that was killed and not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
