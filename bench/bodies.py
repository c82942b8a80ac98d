"""What clients send, byte for byte in the manner of the real ones: requests of pilots and submissions of jobs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from attrs import frozen

from bench.client import Target, get, post

NUMBER = "@@number@@"
"""Stands where each job needs something of its own; replaced by as many digits, so that lengths stay."""

# The attributes of a job on the wire, in the order that clients send them (job/submit takes lists, not objects).
JOB_SLOTS = """
PandaID jobDefinitionID schedulerID pilotID creationTime creationHost modificationTime modificationHost AtlasRelease
transformation homepackage prodSeriesLabel prodSourceLabel prodUserID assignedPriority currentPriority attemptNr
maxAttempt jobStatus jobName maxCpuCount maxCpuUnit maxDiskCount maxDiskUnit ipConnectivity minRamCount minRamUnit
startTime endTime cpuConsumptionTime cpuConsumptionUnit commandToPilot transExitCode pilotErrorCode pilotErrorDiag
exeErrorCode exeErrorDiag supErrorCode supErrorDiag ddmErrorCode ddmErrorDiag brokerageErrorCode brokerageErrorDiag
jobDispatcherErrorCode jobDispatcherErrorDiag taskBufferErrorCode taskBufferErrorDiag computingSite computingElement
jobParameters metadata prodDBlock dispatchDBlock destinationDBlock destinationSE nEvents grid cloud cpuConversion
sourceSite destinationSite transferType taskID cmtConfig stateChangeTime prodDBUpdateTime lockedby relocationFlag
jobExecutionID VO pilotTiming workingGroup processingType prodUserName nInputFiles countryGroup batchID parentID
specialHandling jobsetID coreCount nInputDataFiles inputFileType inputFileProject inputFileBytes nOutputDataFiles
outputFileBytes jobMetrics workQueue_ID jediTaskID jobSubStatus actualCoreCount reqID maxRSS maxVMEM maxSWAP maxPSS
avgRSS avgVMEM avgSWAP avgPSS maxWalltime nucleus eventService failedAttempt hs06sec gshare hs06 totRCHAR totWCHAR
totRBYTES totWBYTES rateRCHAR rateWCHAR rateRBYTES rateWBYTES resource_type diskIO memory_leak memory_leak_x2
container_name job_label gco2_regional gco2_global cpu_architecture_level outputFileType
""".split()
FILE_SLOTS = """
row_ID PandaID GUID lfn type dataset status prodDBlock prodDBlockToken dispatchDBlock dispatchDBlockToken
destinationDBlock destinationDBlockToken destinationSE fsize md5sum checksum scope
""".split()
TRANSFORM = "https://localhost:25443/trf/user/bench"


@frozen(kw_only=True)
class JobForm:
    """The kind of jobs that a run submits: two outputs and a log each, and 1.4 kB of parameters."""

    queue: str = "LOCAL"
    label: str = "user"
    memory: int = 2000
    share: str = "NULL"

    def state(self, name: str) -> list[object]:
        block = f"user.bench.{name}"
        job: dict[str, object] = {
            "jobName": name, "transformation": TRANSFORM, "prodSourceLabel": self.label, "computingSite": self.queue,
            "jobParameters": "-p " + quote("echo " + "x" * 1390), "destinationDBlock": block, "coreCount": 1,
            "destinationSE": "local", "minRamCount": self.memory, "maxDiskCount": 500, "VO": "wlcg",
            "currentPriority": 1000, "assignedPriority": 1000, "processingType": "bench", "gshare": self.share,
            "resource_type": "SCORE", "cloud": "LOCAL", "maxWalltime": 7200, "jobDefinitionID": 1, "maxCpuCount": 3600,
        }  # fmt: skip
        files = [self._file(block, f"{name}.{part}", kind) for part, kind in _PARTS]
        return [job.get(slot, "NULL") for slot in JOB_SLOTS] + [files]

    def _file(self, block: str, lfn: str, kind: str) -> list[object]:
        values: dict[str, object] = {
            "lfn": lfn, "type": kind, "dataset": block, "destinationDBlock": block, "destinationSE": "local",
            "scope": "user.bench", "fsize": 0, "GUID": "3d1f1a4e-0000-4000-8000-" + "0" * 12,
        }  # fmt: skip
        return [values.get(slot, "NULL") for slot in FILE_SLOTS] + [None]


_PARTS = (("out0", "output"), ("out1", "output"), ("log.tgz", "log"))


def submissions(target: Target, form: JobForm, size: int) -> Iterator[bytes]:
    """Requests of ``size`` jobs each, all names different, for ever. Made from one text, since JSON costs CPU here."""
    names = [f"b{NUMBER}.{index:04d}" for index in range(size)]
    jobs = json.dumps([form.state(name) for name in names])
    body = json.dumps({"jobs": jobs}).encode()
    template = post(target.head("POST", "/api/v1/job/submit", accept="application/json"), body)
    mark = NUMBER.encode()
    number = 0
    while True:
        number += 1
        yield template.replace(mark, b"%010d" % number)


def is_alive(target: Target, dialect: str) -> bytes:
    if dialect == "v1":
        return get(target.head("GET", "/api/v1/system/is_alive", accept="application/json"))
    return get(target.head("GET", "/server/panda/isAlive"))


def zipped(target: Target, method: str, fields: dict[str, object]) -> bytes:
    """A legacy call as pilots make it: gzipped JSON that does not say so, and no Accept."""
    return post(target.head("POST", f"/server/panda/{method}"), gzip.compress(json.dumps(fields).encode(), 6, mtime=0))


def call(target: Target, path: str, fields: dict[str, object]) -> bytes:
    """A REST call as Harvester and newer pilots make it."""
    head = target.head("POST", f"/api/v1/{path}", accept="application/json")
    return post(head, json.dumps(fields).encode())


@frozen(kw_only=True)
class PilotForm:
    """What a pilot says it can take."""

    label: str | None = "user"
    memory: int = 16_000
    disk: int = 100_000

    def get_job(self, target: Target, queue: str, number: int, dialect: str) -> bytes:
        node = f"slot1@node{number:04d}.example.org"
        if dialect == "v1":
            fields: dict[str, object] = {"site_name": queue, "computing_element": queue, "node": node}
            fields |= {"prod_source_label": self.label, "disk_space": self.disk, "memory": self.memory, "n_jobs": 1}
            return call(target, "pilot/acquire_jobs", fields)
        fields = {"siteName": queue, "computingElement": queue, "prodSourceLabel": self.label, "node": node}
        fields |= {"diskSpace": self.disk, "workingGroup": "", "cpu": 2600.0, "mem": float(self.memory)}
        return zipped(target, "getJob", fields | {"allowOtherCountry": False})


def heartbeat(target: Target, job: int, state: str, *, attempt: int = 0, report: str = "", loops: int = 0) -> bytes:
    """updateJob with the fields that pilot3 sends with a running job, and with its end."""
    fields: dict[str, object] = {
        "jobId": str(job), "state": state, "timestamp": "2026-03-10T16:10:06+00:00", "siteName": "LOCAL",
        "node": "slot1@node0001.example.org", "attemptNr": attempt, "schedulerID": "unknown",
        "pilotID": "unknown|Local|PR|3.11.5.1", "startTime": 1773159006.1, "xml": report,
        "metaData": "", "coreCount": 1, "meanCoreCount": 0.9, "cpuConsumptionTime": 100 + loops,
        "cpuConversionFactor": 1.0, "cpuConsumptionUnit": "s+Intel(R) Xeon(R) Processor @ 2.60GHz 30720 KB+AVX2",
        "cpu_architecture_level": "x86_64-v3", "maxRSS": 400_000 + job % 999, "maxVMEM": 900_000, "maxSWAP": 0,
        "maxPSS": 390_000, "avgRSS": 350_000, "avgVMEM": 880_000, "avgSWAP": 0, "avgPSS": 340_000,
        "totRCHAR": 123_456_789 + loops, "totWCHAR": 9_876_543, "totRBYTES": 1_000_000, "totWBYTES": 2_000_000,
        "rateRCHAR": 20_000, "rateWCHAR": 1_000, "rateRBYTES": 500, "rateWBYTES": 300,
        "jobMetrics": "coreCount=1 actualCoreCount=1 nEvents=120 leak=0.1 chi2=1.2",
    }  # fmt: skip
    if state in ("finished", "failed"):
        fields |= {"pilotTiming": "1|0|10|1|1|1", "endTime": 1773159106.1, "pilotErrorCode": 0, "pilotErrorDiag": ""}
        fields |= {"transExitCode": 0, "exeErrorCode": 0, "exeErrorDiag": "", "pilotLog": ""}
    return zipped(target, "updateJob", fields)


def output_report(names: Sequence[str]) -> str:
    """The pilot's word on the files it has moved: JSON, in the field that is called xml."""
    files = {
        name: {"guid": f"3d1f1a4e-0000-4000-8000-{index:012d}", "fsize": 1024, "adler32": "084b021f",
               "surl": f"file://localhost/{name}", "endpoint": "LOCAL_DATA"}
        for index, name in enumerate(names)
    }  # fmt: skip
    return json.dumps(files)
