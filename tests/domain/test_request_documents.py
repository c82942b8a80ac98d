"""Requests as clients send them and as older front ends keep them in files."""

import json

import pytest

from pandatx.domain.async_requests import (
    EventPicking,
    FileRecovery,
    event_picking_file,
    events_of,
    recovery_file,
    workflow_file,
    workflow_of,
)

DN = "/DC=x/CN=Some User"


def test_lines_of_another_form_than_run_and_event_are_passed_over():
    assert events_of("1 2\n\n3\n4 5 guid\n 6  7 \n", False) == ([["1", "2"], ["6", "7"]], {})
    assert events_of("1 2\n4 5 g-1\n", True) == ([["4", "5"]], {"4,5": "g-1"})


@pytest.mark.parametrize("text", ["", "1", "1,2", "1 2 3"])
def test_a_list_without_any_event_is_refused(text):
    with pytest.raises(ValueError, match="has no line of the form 'run event'"):
        events_of(text, False)


def test_event_picking_keeps_what_was_asked_for():
    picked = EventPicking(
        run_event_list="1 2\n", dataset_name="a,b", input_file_list="", n_sites="3", parameters="-p"
    ).picked
    assert picked["events"] == [["1", "2"]]
    assert (picked["datasets"], picked["input_files"], picked["n_sites"]) == (["a", "b"], [], 3)
    assert EventPicking(run_event_list="1 2", n_sites="many").picked["n_sites"] == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "no taskParams"),
        ('{"taskParams": 1}', "taskParams"),
        ('{"taskParams": {"a": "\\ud800"}}', "is not JSON"),
        ('{"taskParams": {"a": ' + "[" * 300 + "]" * 300 + "}}", "cannot be stored"),
    ],
)
def test_what_is_no_workflow_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        workflow_of(text)


def test_reproducing_a_parent_is_one_generation():
    assert FileRecovery(task_id=1).parameters["generations"] == 0
    assert FileRecovery(task_id=1, reproduce_parent=True).parameters["generations"] == 1
    assert FileRecovery(task_id=1, reproduce_upto_nth_gen=3).parameters["generations"] == 3


def test_a_recovery_file_is_read_but_the_role_it_claims_is_not_believed():
    text = json.dumps(
        {"userName": DN, "isProductionManager": True, "jediTaskID": 7, "dryRun": True, "logFilename": "jedilog/x.log"}
    )
    found = recovery_file(text)
    assert found.dn == DN
    assert (found.parameters["task_id"], found.parameters["dry_run"]) == (7, True)
    assert found.parameters["log_file"] == "jedilog/x.log"
    assert "production" not in found.parameters


def test_a_recovery_file_names_its_files_with_commas():
    text = json.dumps({"userName": DN, "ds": "scope:name", "files": "a,b", "reproduceUptoNthGen": 2})
    parameters = recovery_file(text).parameters
    assert (parameters["dataset"], parameters["files"], parameters["generations"]) == ("scope:name", ["a", "b"], 2)


def test_a_workflow_file_has_its_document_in_data():
    found = workflow_file(json.dumps({"userName": DN, "data": {"taskParams": {"a": {}}}}))
    assert found.parameters == {"data": {"taskParams": {"a": {}}}, "dry_run": False}


def test_an_event_picking_file_has_lines():
    text = "\n".join(
        (
            f"userName={DN}", "creationTime=x", "eventPickDataType=AOD", "eventPickDS=a,b", "params=--outDS=user.x/",
            "runEvent=1,2", "runEvent=3,4", "runEvent=bad", "runEvtGuidMap={('1', '2'): ['g']}",
        )
    )  # fmt: skip
    found = event_picking_file(text)
    assert found.dn == DN
    assert found.parameters["events"] == [["1", "2"], ["3", "4"]]
    assert found.parameters["guids"] == {"1,2": "g"}
    assert found.parameters["datasets"] == ["a", "b"]
    assert found.parameters["parameters"] == "--outDS=user.x/"


def test_nothing_in_an_event_picking_file_is_run():
    text = f"userName={DN}\nrunEvent=1,2\nrunEvtGuidMap=__import__('os').system('true')\n"
    with pytest.raises(ValueError, match="runEvtGuidMap cannot be read"):
        event_picking_file(text)


def test_a_file_that_nobody_could_store_is_no_request():
    deep = "[" * 300 + "]" * 300
    long = json.dumps({"userName": "/CN=1" * 1000, "data": {"taskParams": {}}})
    for text in (long, f'{{"userName": "{DN}", "data": {{"taskParams": {{"a": {deep}}}}}}}', '{"userName": "\\ud800"}'):
        with pytest.raises(ValueError):
            workflow_file(text)


@pytest.mark.parametrize("text", ["{('1', '2'): ['g'], 3}", "{('1', '2'): [x()]}", "{('1', '2'", "[" * 100_000])
def test_a_map_of_guids_is_read_as_a_whole(text):
    with pytest.raises(ValueError, match="runEvtGuidMap cannot be read"):
        event_picking_file(f"userName={DN}\nrunEvent=1,2\nrunEvtGuidMap={text}")


@pytest.mark.parametrize("read", [workflow_file, recovery_file, event_picking_file])
@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"userName": 1}', f'{{"userName": "{DN}"}}', "userName=x"])
def test_half_a_file_is_no_request(read, text):
    with pytest.raises(ValueError):
        read(text)
