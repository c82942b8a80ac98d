"""Clients for tests of a whole server: one connection, a pilot of either dialect, and a load that keeps in mind every
answer that it was given, so that it can be held against the database afterwards."""

from __future__ import annotations

import gzip
import http.client
import json
import random
import socket
import ssl
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from attrs import define, field, frozen
from server import Home, Tables

from pandatx.domain.lifecycle import JobStatus, may_change

ALIVE = frozenset(("sent", "starting", "running"))
DONE = frozenset(("holding", "transferring", "merging", "finished", "failed", "cancelled"))


class NoAnswer(Exception):
    """The connection broke, or the answer was none: whether the request was done is not known."""


@frozen
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def fields(self) -> dict[str, str]:
        """The answer of the older dialect, as pilots read it."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@define(eq=False)
class Connection:
    """One keep-alive connection to a server with a certificate of its folder; "" is plain HTTP."""

    home: Home
    certificate: str = "pilot-proxy.pem"
    timeout: float = 60.0
    _http: http.client.HTTPConnection | None = None

    def ask(self, verb: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Raises NoAnswer; the next request makes a new connection."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            if self._http is None:
                self._http = self._connect()
            self._http.request(verb, path, body, named)
            answer = self._http.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        except (OSError, http.client.HTTPException) as fault:
            self.close()
            raise NoAnswer(repr(fault)) from None

    def legacy(self, method: str, **fields: Any) -> Answer:
        """As pilots call: gzipped JSON that does not say so, and no Accept."""
        body = gzip.compress(json.dumps(fields).encode(), 1)
        return self.ask("POST", f"/server/panda/{method}", body, Content_Type="application/json")

    def v1(self, operation: str, **fields: Any) -> Answer:
        body = json.dumps(fields).encode()
        path = f"/api/v1/{operation}"
        return self.ask("POST", path, body, Content_Type="application/json", Accept="application/json")

    def get(self, operation: str, **fields: Any) -> Answer:
        return self.ask("GET", f"/api/v1/{operation}?{urlencode(fields)}", Accept="application/json")

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def shut(self) -> None:
        """Hang up while another thread waits for an answer."""
        if self.socket is not None:
            self.socket.shutdown(socket.SHUT_RDWR)

    @property
    def socket(self) -> Any:
        """The socket below, None between two connections."""
        return None if self._http is None else self._http.sock

    def _connect(self) -> http.client.HTTPConnection:
        if not self.certificate:
            return http.client.HTTPConnection("localhost", self.home.http_port, timeout=self.timeout)
        context = tls(self.home.path, self.certificate)
        return http.client.HTTPSConnection("localhost", self.home.https_port, timeout=self.timeout, context=context)


def tls(home: Path, certificate: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(home / "ca.pem"))
    if certificate:
        context.load_cert_chain(home / certificate)
    return context


def output_report(panda_id: int, lfns: list[str] | None = None) -> str:
    """The pilot's word on the files of a job that ``Tables.activate`` or a submission made."""
    return json.dumps(
        {
            lfn: {"guid": f"3d1f1a4e-0000-4000-8000-{panda_id:012d}", "fsize": 6, "adler32": "084b021f",
                  "surl": f"file://localhost/nowhere/{lfn}", "endpoint": "LOCAL_DATA"}
            for lfn in lfns or (f"test.{panda_id}.out", f"test.{panda_id}.log.tgz")
        }
    )  # fmt: skip


@frozen
class Handed:
    """A job as a pilot got it."""

    panda_id: int
    attempt: int
    files: tuple[str, ...] = ()


@define(eq=False)
class Pilot:
    """Speaks one of the dialects. What it was told goes into ``told``; it raises NoAnswer."""

    connection: Connection
    told: Told
    v1: bool = False
    node: str = "node"
    queue: str = "LOCAL"
    memory: int = 16_000

    def get_job(self) -> Handed | None:
        """A job, or None for "no jobs"."""
        if self.v1:
            answer = self.connection.v1(
                "pilot/acquire_jobs", site_name=self.queue, prod_source_label="user", node=self.node,
                memory=self.memory, disk_space=100_000,
            )  # fmt: skip
            self.told.status(answer, "acquire_jobs", (200, 503))
            said = answer.json if answer.status == 200 else {}
            jobs = (said.get("data") or {}).get("jobs") if said.get("success") else None
            job = jobs[0] if jobs else None
        else:
            answer = self.connection.legacy(
                "getJob", siteName=self.queue, computingElement=self.queue, prodSourceLabel="user", node=self.node,
                diskSpace=100_000, workingGroup="", cpu=2600.0, mem=float(self.memory), allowOtherCountry=False,
            )  # fmt: skip
            self.told.status(answer, "getJob", (200,))
            job = answer.fields if answer.fields.get("StatusCode") == "0" else None
        if job is None:
            return None
        handed = Handed(int(job["PandaID"]), int(job["attemptNr"]), tuple(job["outFiles"].split(",")))
        self.told.job(handed, self.node)
        return handed

    def report(self, job: Handed, state: str, **fields: Any) -> str | None:
        """The command in the answer, None where the report was not accepted."""
        if state in ("finished", "failed"):
            fields = {"xml": output_report(job.panda_id, list(job.files) or None), **fields}
        if self.v1:
            named = {"job_output_report": fields.pop("xml")} if "xml" in fields else {}
            answer = self.connection.v1(
                "pilot/update_job", job_id=job.panda_id, job_status=state, attempt_nr=job.attempt, node=self.node,
                site_name=self.queue, **named, **fields,
            )  # fmt: skip
            self.told.status(answer, "update_job", (200, 503))
            said = answer.json if answer.status == 200 else {}
            taken = bool(said.get("success"))
            command = str((said.get("data") or {}).get("command", "")) if taken else None
        else:
            answer = self.connection.legacy(
                "updateJob", jobId=str(job.panda_id), state=state, attemptNr=job.attempt, node=self.node,
                siteName=self.queue, timestamp="2026-03-10T16:10:06+00:00", startTime=1773159006.1, **fields,
            )  # fmt: skip
            self.told.status(answer, "updateJob", (200,))
            taken = answer.fields.get("StatusCode") == "0"
            command = answer.fields.get("command", "") if taken else None
        if taken:
            self.told.report(job, state)
        return command


@define(eq=False)
class Told:
    """Everything that clients were told, from any thread."""

    jobs: list[tuple[Handed, str]] = field(factory=list)
    reports: list[tuple[Handed, str]] = field(factory=list)
    submitted: list[int] = field(factory=list)
    strange: list[str] = field(factory=list)
    unanswered: int = 0
    _lock: Any = field(factory=threading.Lock)

    def status(self, answer: Answer, what: str, allowed: tuple[int, ...]) -> None:
        """Note an HTTP status that no client should see, and a traceback anywhere."""
        if answer.status not in allowed or b"Traceback" in answer.body:
            with self._lock:
                self.strange.append(f"{what}: {answer.status} {answer.body[:300]!r}")

    def job(self, job: Handed, node: str) -> None:
        with self._lock:
            self.jobs.append((job, node))

    def report(self, job: Handed, state: str) -> None:
        with self._lock:
            self.reports.append((job, state))

    def submission(self, ids: list[int]) -> None:
        with self._lock:
            self.submitted += ids

    def silence(self) -> None:
        with self._lock:
            self.unanswered += 1

    @property
    def finals(self) -> set[int]:
        """Jobs whose final report was accepted."""
        return {job.panda_id for job, state in self.reports if state in ("finished", "failed")}


@define(eq=False)
class Load:
    """Pilots of both dialects, and users who submit, in threads, until ``stop``."""

    home: Home
    told: Told = field(factory=Told)
    submitting: bool = False
    patience: float = 60.0
    """Seconds that a pilot goes on trying to send its final report."""
    _threads: list[threading.Thread] = field(factory=list)
    _end: threading.Event = field(factory=threading.Event)
    faults: list[BaseException] = field(factory=list)

    def start(self, pilots: int = 8, users: int = 0) -> Load:
        for number in range(pilots):
            self._thread(self._pilot, number)
        for number in range(users):
            self._thread(self._user, number)
        return self

    def stop(self) -> Told:
        """Let each pilot end its job, and give what was told."""
        self._end.set()
        for thread in self._threads:
            thread.join(self.patience + 90)
            assert not thread.is_alive(), f"{thread.name} hangs"
        if self.faults:
            raise self.faults[0]
        return self.told

    def _thread(self, work: Any, number: int) -> None:
        def whole() -> None:
            try:
                work(number)
            except BaseException as fault:  # brought to the test by stop
                self.faults.append(fault)

        thread = threading.Thread(target=whole, name=f"{work.__name__} {number}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _pilot(self, number: int) -> None:
        chance = random.Random(number)
        pilot = Pilot(Connection(self.home, timeout=20), self.told, bool(number % 2), f"node{number}")
        while not self._end.is_set():
            try:
                job = pilot.get_job()
            except NoAnswer:
                self.told.silence()
                job = None
            if job is None:
                self._end.wait(0.1)
                continue
            for state in ("starting", "running"):
                self._try(pilot, job, state)
            self._final(pilot, job, chance)

    def _final(self, pilot: Pilot, job: Handed, chance: random.Random) -> None:
        """As a pilot would, but for longer; one in four reports is sent twice."""
        pause, tries = threading.Event(), int(self.patience / 0.2)
        for _ in range(tries):
            if self._try(pilot, job, "finished"):
                break
            pause.wait(0.2)
        if not chance.randrange(4):
            self._try(pilot, job, "finished")

    def _try(self, pilot: Pilot, job: Handed, state: str) -> bool:
        try:
            return pilot.report(job, state) is not None
        except NoAnswer:
            self.told.silence()
            return False

    def _user(self, number: int) -> None:
        connection = Connection(self.home, "user.pem", timeout=20)
        count = 0
        while not self._end.is_set():
            count += 1
            jobs = [definition(f"u{number}.{count}.{index}") for index in range(3)]
            try:
                answer = connection.v1("job/submit", jobs=jobs)
                self.told.status(answer, "submit", (200, 503))
                if answer.status == 200 and answer.json["success"]:
                    self.told.submission([receipt[0] for receipt in answer.json["data"]])
            except NoAnswer:
                self.told.silence()
            self._end.wait(0.05)


def definition(name: str, **fields: Any) -> dict[str, Any]:
    """A job with an output and a log, by field name."""
    block = f"user.test.{name}"
    files = [
        {"lfn": f"{name}{ending}", "type": kind, "dataset": block, "destinationDBlock": block, "scope": "user.test",
         "destinationSE": "LOCAL"}
        for kind, ending in (("output", ".out"), ("log", ".log.tgz"))
    ]  # fmt: skip
    return {
        "jobName": name, "prodSourceLabel": "user", "computingSite": "LOCAL", "VO": "local", "maxAttempt": -1,
        "transformation": "https://localhost/trf/user/runGen-00-00-02", "jobParameters": '--exec "true"',
        "destinationDBlock": block, "destinationSE": "LOCAL", "coreCount": 1, "Files": files, **fields,
    }  # fmt: skip


# In the order in which they were made: times are the servers', and may be some milliseconds apart from each other.
_CHANGES = "SELECT pandaid, jobstatus FROM jobs_statuslog ORDER BY xmin::text::bigint, modiftime_extended"


def broken_promises(told: Told, tables: Tables, files_each: int = 2) -> list[str]:
    """What the database says against the promises of design.md 4, given what clients were told. Empty is good."""
    with tables.snapshot():
        places = tables.statuses()
        changes = tables.query(_CHANGES)
        files = dict(tables.query("SELECT pandaid, count(*) FROM filestable4 GROUP BY pandaid"))
    history: dict[int, list[str]] = {}
    for panda_id, status in changes:
        history.setdefault(panda_id, []).append(status)
    return [
        *(f"strange answer: {text}" for text in told.strange),
        *_handing(told, places),
        *_keeping(told, places, history),
        *_places(places, files, files_each),
        *_transitions(places, history),
    ]


def _handing(told: Told, places: dict[int, list[tuple[str, str]]]) -> list[str]:
    """Promise 1."""
    count = Counter((job.panda_id, job.attempt) for job, _ in told.jobs)
    found = [f"job {panda_id} was handed out {times} times" for (panda_id, _), times in count.items() if times > 1]
    return found + [
        f"job {job.panda_id} was handed out and is {places.get(job.panda_id)}"
        for job, _ in told.jobs
        if not places.get(job.panda_id) or places[job.panda_id][0][1] not in ALIVE | DONE
    ]


def _keeping(told: Told, places: dict[int, list[tuple[str, str]]], history: dict[int, list[str]]) -> list[str]:
    """Promises 2 and 5."""
    found = [f"submitted job {panda_id} is gone" for panda_id in told.submitted if panda_id not in places]
    for job, state in told.reports:
        had = history.get(job.panda_id, [])
        if state in ("finished", "failed"):
            now = places.get(job.panda_id, [("", "gone")])[0][1]
            if now not in DONE:
                found.append(f"the report of job {job.panda_id} is lost: it is {now}")
            if had.count("holding") > 1:
                found.append(f"the report of job {job.panda_id} counted {had.count('holding')} times: {had}")
        elif state not in had and not DONE & set(had):
            found.append(f"job {job.panda_id} was told {state} and had {had}")
    return found


def _places(places: dict[int, list[tuple[str, str]]], files: dict[int, int], each: int) -> list[str]:
    """Promise 3."""
    found = [f"job {panda_id} is in {where}" for panda_id, where in places.items() if len(where) != 1]
    return found + [
        f"job {panda_id} has {files.get(panda_id)} files" for panda_id in places if files.get(panda_id) != each
    ]


def _transitions(places: dict[int, list[tuple[str, str]]], history: dict[int, list[str]]) -> list[str]:
    """Promise 6; jobs that a test put into the tables have no first rows."""
    found = []
    for panda_id, had in history.items():
        for before, after in pairwise(had):
            if before == after or not may_change(JobStatus(before), JobStatus(after)):
                found.append(f"job {panda_id} went from {before} to {after}: {had}")
        now = places.get(panda_id, [("", "gone")])[0][1]
        if had[-1] != now:
            found.append(f"job {panda_id} is {now}, its log ends with {had}")
    return found
