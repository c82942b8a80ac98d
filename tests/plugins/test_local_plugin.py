"""The dummy and local plugins, and the child's side that runs them."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import pytest
from attrs import asdict

from pandatx.domain.job import Job, JobFile
from pandatx.plugins import run
from pandatx.plugins.interface import serials_wanted
from pandatx.plugins.storage import path_in

SETUPPER, ADDER = "pandatx.plugins.local:Setupper", "pandatx.plugins.local:Adder"


def job(panda_id=1, *files, label="managed", **values):
    numbered = tuple(JobFile(row_id=panda_id * 100 + n, panda_id=panda_id, **file) for n, file in enumerate(files))
    made = Job(panda_id=panda_id, prod_source_label=label, computing_site="LOCAL", files=numbered, **values)
    return asdict(made)


def output(lfn="out.1", **values):
    return {
        "type": "output",
        "lfn": lfn,
        "scope": "user.me",
        "dataset": "d.out",
        "destination_dblock": "d.out",
    } | values


def log(**values):
    return output("log.tgz", type="log", **values)


def wanted(lfn="in.1", **values):
    return {"type": "input", "lfn": lfn, "scope": "user.me", "dataset": "d.in", "prod_dblock": "d.in"} | values


def store(directory: Path, lfn: str, content: bytes = b"content") -> Path:
    path = path_in(str(directory), "user.me", lfn)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def set_up(jobs, **settings):
    result = run.setup(SETUPPER, jobs, {"serials": list(range(7, 7 + serials_wanted(jobs))), **settings})
    return {one["panda_id"]: one for one in result["jobs"]}, {row["name"]: row for row in result["datasets"]}


def test_files_lie_where_the_pilot_puts_them(tmp_path):
    digest = hashlib.md5(b"user.me:f").hexdigest()
    assert path_in("/s", "user.me", "f") == Path("/s/user/me", digest[:2], digest[2:4], "f")
    assert path_in("/s", "user.me", "../f") is None
    assert path_in("/s", "../x", "f") is None


def test_a_job_without_inputs_waits_for_nothing_and_its_log_gets_a_guid():
    for target in (SETUPPER, "pandatx.plugins.dummy:Setupper"):
        one = run.setup(target, [job(1, output(), log(), label="user")], {})["jobs"][0]
        assert (one["status"], one["dispatch_dblock"], one["error"]) == (None, None, None)
        assert [(file["row_id"], len(file["guid"])) for file in one["files"]] == [(101, 36)]


def test_a_users_job_writes_straight_into_its_destination_block():
    _, rows = set_up([job(1, output(), log(), label="user")])
    assert rows == {
        "d.out": {"name": "d.out", "type": "output", "status": "defined", "number_files": 2, "subtype": "top"}
    }


@pytest.mark.parametrize("label", ["managed", "test"])
def test_fifty_jobs_share_a_sub_block(label):
    jobs = [job(n, output(f"out.{n}"), label=label) for n in range(1, 121)]
    assert serials_wanted(jobs) == 3
    results, rows = set_up(jobs)
    assert {name: row["number_files"] for name, row in rows.items()} == {
        "d.out": 120,
        "d.out_sub0007": 50,
        "d.out_sub0008": 50,
        "d.out_sub0009": 20,
    }
    assert results[51]["files"] == [{"row_id": 5100, "destination_dblock": "d.out_sub0008"}]


def test_a_job_that_has_its_sub_block_keeps_it():
    again = [job(1, output(destination_dblock="d.out_sub0003"))]
    assert serials_wanted(again) == 0
    results, rows = set_up(again)
    assert (results[1]["files"], rows) == ([], {})


def test_too_few_serial_numbers_are_told():
    with pytest.raises(ValueError, match="1 serial numbers are needed"):
        run.setup(SETUPPER, [job(1, output())], {"serials": []})


def test_inputs_that_are_in_storage_are_ready_and_the_job_waits_for_nothing(tmp_path):
    store(tmp_path, "in.1")
    results, rows = set_up([job(1, wanted(), label="user")], storage={"RSE": str(tmp_path)})
    assert results[1]["dispatch_dblock"] is None
    assert results[1]["files"] == [{"row_id": 100, "status": "ready"}]
    assert rows == {}


def test_missing_inputs_of_a_submission_share_a_dispatch_block(tmp_path):
    store(tmp_path, "in.1")
    jobs = [job(n, wanted("in.1"), wanted(f"in.{n}"), label="user") for n in (5, 6)]
    results, rows = set_up(jobs, storage={"RSE": str(tmp_path)})
    assert [results[n]["dispatch_dblock"] for n in (5, 6)] == ["d.in_dis5"] * 2
    assert results[6]["files"] == [
        {"row_id": 600, "status": "ready"},
        {"row_id": 601, "dispatch_dblock": "d.in_dis5"},
    ]
    assert (rows["d.in_dis5"]["type"], rows["d.in_dis5"]["number_files"]) == ("dispatch", 2)


def test_the_library_of_a_build_job_is_waited_for_under_its_own_block():
    results, rows = set_up([job(1, wanted("lib.tgz", dispatch_dblock="d.lib"), label="user")])
    assert (results[1]["dispatch_dblock"], rows) == ("d.lib", {})


def test_a_second_call_after_the_files_have_come_finds_them(tmp_path):
    jobs = [job(1, wanted(dispatch_dblock="d.in_dis1"), label="user", dispatch_dblock="d.in_dis1")]
    assert set_up(jobs)[0][1]["dispatch_dblock"] == "d.in_dis1"
    store(tmp_path, "in.1")
    assert set_up(jobs, storage={"RSE": str(tmp_path)})[0][1]["dispatch_dblock"] is None


def reported(content=b"content", **values):
    return {"guid": "G", "fsize": len(content), "adler32": f"{zlib.adler32(content):08x}"} | values


def add(item, directory, status="finished", report=None):
    items = [{"job": item, "report": report or {"out.1": reported()}, "status": status}]
    return run.add(ADDER, items, {"storage": {"RSE": str(directory)}})[0]


def test_a_file_that_is_as_reported_is_registered_in_both_blocks(tmp_path):
    store(tmp_path, "out.1")
    result = add(job(1, output(destination_dblock="d.out_sub0001")), tmp_path)
    assert result["result"] == "ok"
    assert result["registered"] == [{"lfn": "out.1", "blocks": ["d.out", "d.out_sub0001"], "checked": True}]


def test_a_file_out_of_reach_is_taken_as_reported(tmp_path):
    result = add(job(1, output()), tmp_path)
    assert (result["result"], result["registered"][0]["checked"]) == ("ok", False)


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (reported(fsize=8), "out.1 has 7 bytes where 8 were reported"),
        (reported(adler32="00000001"), "out.1 has the checksum 0b4c02e1 where 00000001 was reported"),
    ],
)
def test_a_file_that_is_not_as_reported_fails_the_job(tmp_path, report, text):
    store(tmp_path, "out.1")
    result = add(job(1, output()), tmp_path, report={"out.1": report})
    assert result["result"] == "fatal"
    assert result["error"].startswith(text[:20])


def test_of_a_failed_job_only_the_log_counts(tmp_path):
    store(tmp_path, "out.1")
    report = {"out.1": reported(fsize=1), "log.tgz": reported()}
    result = add(job(1, output(), log()), tmp_path, "failed", report)
    assert (result["result"], [file["lfn"] for file in result["registered"]]) == ("ok", ["log.tgz"])


def test_what_an_adder_raises_over_one_job_fails_that_job_only(tmp_path, monkeypatch):
    (tmp_path / "moody.py").write_text(
        "class Adder:\n"
        "    def add(self, items, settings):\n"
        "        if any(item['job']['panda_id'] == 2 for item in items): raise KeyError('two')\n"
        "        return [{'panda_id': i['job']['panda_id'], 'result': 'ok', 'error': None,\n"
        "                 'transferring': [], 'merging': []} for i in items]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    items = [{"job": job(n), "report": {}, "status": "finished"} for n in (1, 2, 3)]
    results = run.add("moody:Adder", items, {})
    assert [result["result"] for result in results] == ["ok", "fatal", "ok"]
    assert results[1]["error"] == "AdderPlugin failure: KeyError: 'two'"


def test_the_dummy_adder_takes_every_report():
    result = run.add("pandatx.plugins.dummy:Adder", [{"job": job(4), "report": {}, "status": "finished"}], {})
    assert result == [{"panda_id": 4, "result": "ok", "error": None, "transferring": [], "merging": []}]
