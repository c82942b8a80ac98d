"""The job as the pilot gets it."""

from __future__ import annotations

import json
from base64 import b64decode
from time import process_time

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.job import Job, JobFile
from pandatx.domain.pilot_job import Extras, endpoint_in, endpoint_out, job_dictionary
from pandatx.domain.queues import queue_of

QUEUE = queue_of("LOCAL", {"astorages": {"pr": ["IN"], "pw": ["OUT", "TAPE"]}})
FILES = (
    JobFile(row_id=3, lfn="job.log.tgz", type="log", guid="G3", scope="logs", dataset="ds.log", destination_dblock="d"),
    JobFile(row_id=1, lfn="a.in", type="input", guid="G1", fsize=7, checksum="ad:1", scope="s1", dataset="in.ds"),
    JobFile(row_id=2, lfn="out.1", type="output", scope="s2", dataset="out.ds", destination_dblock="d"),
    JobFile(row_id=4, lfn="never", type="pseudo_input"),
    JobFile(row_id=5, lfn="out.2", type="output", scope="s3", dataset="out.ds", dispatch_dblock_token="x,an"),
    JobFile(row_id=6, lfn="a.in", type="input", guid="G6", dataset="in.ds"),
    JobFile(row_id=7, lfn="b.in", type="input", md5sum="md", dataset="in2.ds"),
)
JOB = Job(panda_id=12, job_parameters="-x 1", attempt_nr=1, prod_source_label="user", files=FILES)

IN_LISTS = ("inFiles", "GUID", "fsize", "checksum", "scopeIn", "realDatasetsIn", "prodDBlocks", "prodDBlockToken",
            "dispatchDblock", "dispatchDBlockToken", "ddmEndPointIn")  # fmt: skip
OUT_LISTS = ("outFiles", "realDatasets", "destinationDblock", "destinationDBlockToken", "dispatchDBlockTokenForOut",
             "fileDestinationSE", "ddmEndPointOut")  # fmt: skip


def test_inputs_are_aligned_in_row_order_and_the_same_name_stands_once():
    found = job_dictionary(JOB, QUEUE)
    assert found["inFiles"] == "a.in,b.in"
    assert (found["GUID"], found["fsize"], found["checksum"]) == ("G1,NULL", "7,0", "ad:1,md")
    assert (found["scopeIn"], found["realDatasetsIn"]) == ("s1,NULL", "in.ds,in2.ds")
    assert found["ddmEndPointIn"] == "IN,IN"


def test_outputs_contain_the_log_but_its_scope_stands_apart():
    found = job_dictionary(JOB, QUEUE)
    assert found["outFiles"] == "out.1,job.log.tgz,out.2"
    assert (found["scopeOut"], found["scopeLog"]) == ("s2,s3", "logs")
    assert (found["logFile"], found["logGUID"]) == ("job.log.tgz", "G3")
    assert found["realDatasets"] == "out.ds,ds.log,out.ds"
    assert found["ddmEndPointOut"] == "OUT,OUT,OUT"
    assert found["allowNoOutput"] == "out.2"


TEXTS = st.none() | st.text("ab,", max_size=5)
NAMES = st.text("abc", min_size=1, max_size=2)
ANY_FILE = st.builds(
    JobFile,
    row_id=st.integers(1, 9),
    lfn=NAMES,
    type=st.sampled_from(["input", "output", "log", "pseudo_input"]),
    guid=st.none() | NAMES,
    prod_dblock_token=TEXTS,
    dispatch_dblock_token=TEXTS,
    destination_dblock_token=TEXTS | st.sampled_from(["dst:X,dst:Y", "ddd:Z"]),
    destination_se=st.none() | NAMES,
)


@given(st.lists(ANY_FILE, max_size=6), st.sampled_from([None, QUEUE]))
def test_lists_of_files_always_have_the_same_length(files, queue):
    found = job_dictionary(evolve(JOB, files=tuple(files)), queue)
    n_in = len({file.lfn for file in files if file.type == "input"})
    n_out = sum(file.type in ("output", "log") for file in files)
    for keys, number in ((IN_LISTS, n_in), (OUT_LISTS, n_out)):
        for key in keys:
            assert len(found[key].split(",")) == max(number, 1), key
    n_scopes = sum(file.type == "output" for file in files)
    assert len(found["scopeOut"].split(",")) == max(n_scopes, 1)


def test_unset_texts_are_null_unset_cores_are_one_and_keys_of_flags_are_absent():
    found = job_dictionary(Job(panda_id=1), None)
    unset = ("taskID", "jobsetID", "reqID", "jobName", "swRelease", "homepackage", "cmtConfig", "maxWalltime",
             "resource_type", "nucleus", "transformation", "prodUserID")  # fmt: skip
    assert {found[key] for key in unset} == {"NULL"}
    assert (found["coreCount"], found["StatusCode"], found["maxCpuCount"], found["nSent"]) == (1, 0, 0, 0)
    assert found["ioIntensity"] is None and found["jobPars"] == "" and found["inFiles"] == ""
    absent = ("debug", "loopingCheck", "cloneJob", "secrets", "pilotSecrets", "logFile", "container_name", "credname",
              "eventService", "allowNoOutput", "writeToFile", "prodUserName")  # fmt: skip
    assert not set(absent) & set(found)
    json.dumps(found)


def test_the_task_is_that_of_jedi_only_for_jobs_that_jedi_holds():
    job = Job(task_id=3, jedi_task_id=77)
    assert job_dictionary(job, None)["taskID"] == 3
    assert job_dictionary(evolve(job, locked_by="jedi"), None)["taskID"] == 77


@pytest.mark.parametrize(
    ("tag", "key", "value"),
    [
        ("dm", "debug", "True"),
        ("om", "onSiteMerging", "True"),
        ("lc", "loopingCheck", False),
        ("sc:1", "cloneJob", "runonce"),
        ("sc:2", "cloneJob", "storeonce"),
        ("ao:off", "altStageOut", "off"),
        ("tq=1,po", "putLogToOS", "True"),
        ("wf", "writeToFile", "tmpin_in.ds:a.in^tmpin_in2.ds:b.in"),
    ],
)
def test_a_tag_of_special_handling_sets_its_key(tag, key, value):
    assert job_dictionary(evolve(JOB, special_handling=tag), QUEUE)[key] == value


def test_lists_of_inputs_are_named_without_the_scope_and_the_slash_of_a_dataset():
    files = (
        JobFile(row_id=1, lfn="a.in", type="input", dataset="user.me:user.me.in/"),
        JobFile(row_id=2, lfn="b.in", type="input", dataset="user.me:user.me.in/"),
    )
    found = job_dictionary(evolve(JOB, special_handling="wf", files=files), QUEUE)["writeToFile"]
    assert found == "tmpin_user.me.in:a.in,b.in"


def test_a_queue_that_reads_from_a_virtual_placement_says_so():
    virtual = queue_of("V", {"astorages": {"read_lan": ["SITE_VP_DISK"], "pw": ["OUT"]}})
    assert job_dictionary(JOB, virtual)["useVP"] == "True"
    assert "useVP" not in job_dictionary(JOB, QUEUE)
    assert "useVP" not in job_dictionary(JOB, queue_of("W", {"astorages": {"pw": ["SITE_VP_DISK"]}}))


def test_parameters_are_encoded_where_the_tag_says_so():
    found = job_dictionary(evolve(JOB, job_parameters="-p 'ü x'", special_handling="bj,ej"), QUEUE)
    assert b64decode(found["jobPars"]).decode() == "-p 'ü x'"


def test_several_steps_are_merged_into_the_dictionary_and_cut_from_the_parameters():
    steps = {"preprocess": {"command": "x", "args": "y"}, "containerOptions": {"a": 1}}
    job = evolve(JOB, job_parameters=f"-x 1 <MULTI_STEP_EXEC>{json.dumps(steps)}</MULTI_STEP_EXEC>")
    found = job_dictionary(job, QUEUE)
    assert found["jobPars"] == "-x 1 " and found["cmtConfig"] == ""
    assert found["preprocess"] == steps["preprocess"] and found["containerOptions"] == {"a": 1}


def test_steps_cannot_replace_what_the_server_says():
    steps = {"PandaID": 1, "prodUserID": "boss", "secrets": "s", "pilotSecrets": "p", "debug": "True"}
    job = evolve(JOB, job_parameters=f"<MULTI_STEP_EXEC>{json.dumps(steps)}</MULTI_STEP_EXEC>", special_handling="dm")
    found = job_dictionary(job, QUEUE)
    assert found["PandaID"] == 12 and found["prodUserID"] == "NULL"
    assert "secrets" not in found and "pilotSecrets" not in found


DEEP = '{"a":' * 600 + "1" + "}" * 600


@pytest.mark.parametrize("inner", ["{", "[1]", "nothing", DEEP, "[" * 100_000])
def test_steps_that_are_no_object_stay_in_the_parameters(inner):
    text = f"-x <MULTI_STEP_EXEC>{inner}</MULTI_STEP_EXEC>"
    assert job_dictionary(evolve(JOB, job_parameters=text), QUEUE)["jobPars"] == text


def test_many_steps_without_an_end_take_no_time_that_grows_with_their_square():
    text = "<MULTI_STEP_EXEC>" * 60_000
    begun = process_time()
    assert job_dictionary(evolve(JOB, job_parameters=text), QUEUE)["jobPars"] == text
    assert process_time() - begun < 0.5


def test_secrets_go_only_to_jobs_that_use_them_and_the_pilots_only_to_debugged_ones():
    extras = Extras(n_sent=4, secrets='{"a": 1}', pilot_secrets="{}", proxy_key=True)
    plain = job_dictionary(JOB, QUEUE, extras)
    assert "secrets" not in plain and "pilotSecrets" not in plain
    assert (plain["nSent"], plain["credname"], plain["myproxy"]) == (4, "", "")
    trusted = job_dictionary(evolve(JOB, special_handling="us,dm"), QUEUE, extras)
    assert (trusted["secrets"], trusted["pilotSecrets"]) == ('{"a": 1}', "{}")


@pytest.mark.parametrize(
    ("token", "destination", "endpoint"),
    [
        (None, None, "OUT"),
        ("dst:FAR,dst:OTHER", None, "FAR"),
        ("ddd:FAR", "LOCAL", "FAR"),
        ("TAPE", None, "TAPE"),
        ("unknown", "TAPE", "TAPE"),
        (None, "LOCAL", "OUT"),
        ("NULL", "local", "OUT"),
    ],
)
def test_an_output_goes_where_its_token_or_destination_says_else_where_the_queue_writes(token, destination, endpoint):
    assert endpoint_out(JobFile(destination_dblock_token=token, destination_se=destination), QUEUE) == endpoint


def test_without_storage_in_the_queue_data_the_destination_is_the_endpoint_and_nothing_is_left_to_the_pilot():
    bare = queue_of("BARE", {})
    assert endpoint_out(JobFile(destination_se="RSE"), bare) == "RSE"
    assert endpoint_out(JobFile(destination_se="BARE"), bare) == ""
    assert endpoint_out(JobFile(destination_se="local"), None) == ""
    assert endpoint_in(JobFile(), None) == ""


def test_an_input_is_read_from_the_endpoint_that_its_token_names_if_the_queue_has_it():
    assert endpoint_in(JobFile(dispatch_dblock_token="TAPE"), QUEUE) == "TAPE"
    assert endpoint_in(JobFile(dispatch_dblock_token="ELSEWHERE"), QUEUE) == "IN"


def test_a_distributed_destination_is_sent_as_a_plain_one():
    files = (JobFile(row_id=1, lfn="o", type="output", destination_dblock_token="ddd:A,dst:B"),)
    assert job_dictionary(evolve(JOB, files=files), QUEUE)["destinationDBlockToken"] == "dst:A"


def test_event_service_is_told_apart_from_its_merging():
    assert job_dictionary(evolve(JOB, event_service=1), QUEUE)["eventService"] == "True"
    merge = job_dictionary(evolve(JOB, event_service=2), QUEUE)
    assert merge["eventServiceMerge"] == "True" and "eventService" not in merge
    assert "eventService" not in job_dictionary(evolve(JOB, event_service=3, special_handling="sc:1"), QUEUE)
