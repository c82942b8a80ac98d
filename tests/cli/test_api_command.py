"""`pandatx api`, without a server."""

import json

import pytest
from click.testing import CliRunner

from pandatx.cli.main import main


def api(*args):
    return CliRunner().invoke(main, ["api", *args])


def test_every_operation_is_a_line():
    result = api()
    assert result.exit_code == 0
    line = next(line for line in result.output.splitlines() if line.startswith("pilot/acquire_jobs "))
    assert line.split()[1:4] == ["POST", "pilots", "getJob"]


@pytest.mark.parametrize("name", ["job/kill", "killJobs"])
def test_an_operation_is_shown_by_its_name_in_either_dialect(name):
    result = api(name)
    assert result.exit_code == 0
    for text in ("POST /api/v1/job/kill", "/server/panda/killJobs", "job_ids *", "list of boolean"):
        assert text in result.output


def test_a_name_that_nothing_has_is_a_fault_of_usage():
    result = api("job/nothing")
    assert result.exit_code == 2
    assert "no operation is called job/nothing" in result.output


def test_a_method_without_its_group_is_told_where_it_is():
    assert "did you mean pandatx/why?" in api("why").output
    assert "did you mean job/kill or task/kill?" in api("kill").output


def test_the_document_is_json_whole_or_of_one_operation():
    whole = json.loads(api("--json").output)
    assert whole["openapi"] == "3.1.0"
    part = json.loads(api("getJob", "--json").output)
    assert part == {path: whole["paths"][path] for path in ("/api/v1/pilot/acquire_jobs", "/server/panda/getJob")}


def test_what_an_older_document_promised_and_is_gone_is_told(tmp_path):
    older = json.loads(api("--json").output)
    kept = tmp_path / "older.json"
    kept.write_text(json.dumps(older))
    result = api("--since", str(kept))
    assert (result.exit_code, result.output) == (0, "")
    older["paths"]["/server/panda/oldOne"] = older["paths"]["/server/panda/getJob"]
    kept.write_text(json.dumps(older))
    result = api("--since", str(kept))
    assert (result.exit_code, result.output) == (1, "oldOne: it is not served any more\n")
