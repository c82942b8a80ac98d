"""The main job, shown: a server with its own database, five jobs, and the real PanDA pilot until all are done.

Run by ``make demo [PILOT=DIR]``, which puts tests/whole on the path for the pilot's harness. Exit code 0 means that
four jobs finished and the one that was meant to fail failed.
"""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from attrs import define, field, frozen
from pilot import Pilot, PilotFault, Place, obtain, transformation, version
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pandatx.store.embedded import home_directory

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
FINAL = ("finished", "failed", "cancelled", "closed")
PATIENCE = 900.0
"""Seconds until we give up: a failed job is reported 115 s late by the pilot itself, all others within seconds."""
SLOTS = 3
JOBS = (  # the one that fails comes first, since it takes longest
    ("fails on purpose", "echo this one ends with exit code 7; exit 7", None),
    ("says hello", "echo hello from $HOSTNAME > hello.txt", "hello.txt"),
    ("counts primes", "seq 2 200 | factor | awk 'NF == 2' > primes.txt", "primes.txt"),
    ("draws numbers", "seq 1 100000 | sha256sum > sum.txt", "sum.txt"),
    ("sleeps a little", "sleep 3; date > date.txt", "date.txt"),
)  # fmt: skip
console = Console(width=None if sys.stdout.isatty() else 140)


class DemoFault(Exception):
    """The demo cannot go on; the text says why."""


@frozen
class Submitted:
    """A job that went in, and what it is for."""

    panda_id: int
    purpose: str


@frozen(kw_only=True)
class Server:
    """Our server for the time of the demo, in a directory made by ``pandatx init``."""

    home: Path
    http_port: int
    https_port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def place(self) -> Place:
        return Place(
            home=self.home, server=f"https://localhost:{self.https_port}", web=f"http://localhost:{self.http_port}"
        )

    def ready(self) -> bool:
        """It answers, and knows its queue, which a daemon reads from queues.json."""
        if self.process.poll() is not None:
            raise DemoFault(f"the server ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
        try:
            for path in ("/server/panda/isAlive", "/cache/schedconfig/LOCAL.all.json"):
                urllib.request.urlopen(self.place.web + path, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    def submit(self, shell: str, output: str | None, transform: str) -> int:
        line = [BIN / "pandatx", "--home", self.home, "job", "submit", "--queue", "LOCAL"]
        line += ["--transformation", transform, *(["--output", output] if output else []), "--exec", shell]
        done = subprocess.run(list(map(str, line)), capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoFault(f"{' '.join(map(str, line))}\n{done.stderr}")
        return int(done.stdout.split()[-1])

    def describe(self, jobs: list[Submitted]) -> dict[int, dict[str, Any]]:
        """PandaID -> all that the server knows of a job, its files included."""
        context = ssl.create_default_context(cafile=str(self.home / "ca.pem"))
        context.load_cert_chain(self.home / "production.pem")
        request = urllib.request.Request(
            f"{self.place.server}/api/v1/job/get_description_incl_archive",
            data=json.dumps({"job_ids": [job.panda_id for job in jobs]}).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            reply = json.load(answer)
        if not reply["success"]:
            raise DemoFault(f"job/get_description_incl_archive: {reply['message']}")
        return {job["PandaID"]: job for job in reply["data"] if job}

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@define(eq=False)
class Pilots:
    """A few slots in which one pilot after the other takes a job, until there are as many pilots as jobs."""

    source: Path
    place: Place
    directory: Path
    number: int
    notes: list[str] = field(factory=list)
    _running: list[Pilot] = field(factory=list)
    _turns: queue.SimpleQueue[int] = field(factory=queue.SimpleQueue)
    _stopping: bool = False
    _lock: threading.Lock = field(factory=threading.Lock)

    def start(self) -> None:
        for turn in range(self.number):
            self._turns.put(turn)
        for slot in range(SLOTS):
            threading.Thread(target=self._work, name=f"slot {slot}", daemon=True).start()

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
        for pilot in self._running:
            pilot.stop()

    def _work(self) -> None:
        with contextlib.suppress(queue.Empty):
            while not self._stopping:
                self._one(self._turns.get_nowait())

    def _one(self, turn: int) -> None:
        with self._lock:
            if self._stopping:
                return
            pilot = Pilot(self.source, self.place, self.directory / f"pilot{turn}", heartbeat=30).start()
            self._running.append(pilot)
        try:
            # Ended by process id after its job: left alone it would sleep for a minute and ask for more.
            pilot.wait_for_jobs(1, PATIENCE)
        except PilotFault as fault:
            if not self._stopping:
                self.notes.append(str(fault).splitlines()[0])
                self._turns.put(turn + self.number)  # another pilot takes its place
        finally:
            pilot.stop()


@contextlib.contextmanager
def server(home: Path) -> Iterator[Server]:
    """A server that is up; it is stopped afterwards, and its directory stays to be looked at."""
    http_port, https_port = free_ports()
    ports = ["--http-port", str(http_port), "--https-port", str(https_port)]
    made = subprocess.run([BIN / "pandatx", "init", home, *ports], capture_output=True, text=True, check=False)
    if made.returncode:
        raise DemoFault(f"pandatx init {home}\n{made.stderr}")
    log = home / "server.out"
    line = [str(BIN / "twistd"), "-n", "--pidfile=", "panda", "--config", str(home / "panda_server.cfg")]
    with log.open("wb") as output:
        process = subprocess.Popen(line, cwd=home, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    ours = Server(home=home, http_port=http_port, https_port=https_port, process=process, log=log)
    try:
        deadline = time.monotonic() + 120
        while not ours.ready():
            if time.monotonic() > deadline:
                raise DemoFault(f"the server does not answer, or does not know queue LOCAL:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        yield ours
    finally:
        ours.stop()


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def watch(ours: Server, pilots: Pilots, jobs: list[Submitted]) -> dict[int, dict[str, Any]]:
    """Show the jobs until all have come to their end."""
    began = time.monotonic()
    told: dict[int, str] = {}
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            known = ours.describe(jobs)
            seconds = time.monotonic() - began
            states = {job.panda_id: known.get(job.panda_id, {}).get("jobStatus", "?") for job in jobs}
            if console.is_terminal:
                live.update(progress(jobs, states, pilots, seconds))
            else:
                tell_changes(jobs, states, told, seconds)
            if all(state in FINAL for state in states.values()):
                return known
            if seconds > PATIENCE:
                raise DemoFault(f"not all jobs are done after {PATIENCE:g} s: {states}\n" + "\n".join(pilots.notes))
            if ours.process.poll() is not None:
                raise DemoFault(f"the server ended:\n{ours.log.read_text()[-3000:]}")
            time.sleep(1)


def tell_changes(jobs: list[Submitted], states: dict[int, str], told: dict[int, str], seconds: float) -> None:
    for job in jobs:
        if told.get(job.panda_id) != states[job.panda_id]:
            told[job.panda_id] = states[job.panda_id]
            console.print(f"{seconds:5.0f} s  job {job.panda_id} ({job.purpose}) is {states[job.panda_id]}")


def progress(jobs: list[Submitted], states: dict[int, str], pilots: Pilots, seconds: float) -> Table:
    done = sum(state in FINAL for state in states.values())
    hint = "; the pilot reports a failure 115 s late" if done == len(jobs) - 1 else ""
    table = Table(title=f"{done} of {len(jobs)} jobs done, {seconds:.0f} s{hint}", title_justify="left")
    for name in ("PandaID", "job", "state"):
        table.add_column(name)
    for job in jobs:
        table.add_row(str(job.panda_id), job.purpose, coloured(states[job.panda_id]))
    for note in pilots.notes[-2:]:
        table.add_row("", note, "")
    return table


def coloured(state: str) -> str:
    colour = {"finished": "green", "failed": "red", "activated": "dim"}.get(state, "yellow")
    return f"[{colour}]{state}[/]"


def outcome(jobs: list[Submitted], known: dict[int, dict[str, Any]]) -> Table:
    table = Table(title="The jobs", title_justify="left")
    for name in ("PandaID", "job", "state", "outputs", "submitted", "started", "ended", "exit"):
        table.add_column(name)
    for job in jobs:
        one = known[job.panda_id]
        files = [file for file in one.get("Files", []) if file["type"] in ("output", "log")]
        outputs = "\n".join(f"{file['lfn']} {file['fsize'] or 0} B {file['status']}" for file in files)
        times = (when(one.get(name)) for name in ("creationTime", "startTime", "endTime"))
        code = one.get("transExitCode")
        table.add_row(
            str(job.panda_id),
            job.purpose,
            coloured(one["jobStatus"]),
            outputs,
            *times,
            "" if code is None else str(code),
        )
    return table


def when(value: Any) -> str:
    """The time of day in one of the forms that the wire has for a time."""
    text = next(iter(value.values()), "") if isinstance(value, dict) else value
    return str(text or "").replace("T", " ")[11:19]


@click.command()
@click.option("--pilot", "directory", help="A checkout of PanDAWMS/pilot3; default: panda-pilot of PyPI.")
def main(directory: str | None) -> None:
    """Take five jobs from submission to their end with the real pilot; exit 0 if all went as it should."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing of ours is left behind
    home = ROOT / ".demo"
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(home_directory(home / "server" / "state"), ignore_errors=True)  # for root the database lies elsewhere
    try:
        source = obtain(directory, ROOT / ".run" / "pilots")
        console.print(f"pilot {version(source)} from {source}")
        with server(home / "server") as ours:
            console.print(f"server at {ours.place.server}, its directory is {ours.home}")
            known, jobs = run(ours, source, home)
    except (DemoFault, PilotFault) as fault:
        console.print(f"demo: {fault}", style="bold red", markup=False)
        sys.exit(1)
    states = [known[job.panda_id]["jobStatus"] for job in jobs]
    console.print(outcome(jobs, known))
    good = states == ["failed", *["finished"] * (len(jobs) - 1)]
    console.print("four finished and one failed, as it should be" if good else "NOT as it should be")
    sys.exit(0 if good else 1)


def run(ours: Server, source: Path, home: Path) -> tuple[dict[int, dict[str, Any]], list[Submitted]]:
    [script] = [path.name for path in (ours.home / "trf/user").iterdir()]
    transform = transformation(source, ours.place, script)
    jobs = [Submitted(ours.submit(shell, output, transform), purpose) for purpose, shell, output in JOBS]
    console.print("submitted jobs " + ", ".join(str(job.panda_id) for job in jobs))
    pilots = Pilots(source, ours.place, home / "pilots", len(jobs))
    pilots.start()
    try:
        return watch(ours, pilots, jobs), jobs
    finally:
        pilots.stop()


if __name__ == "__main__":
    main()
