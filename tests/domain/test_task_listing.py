"""What is told of tasks, and which of them a search lets through (reference/wire.md 3.3)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import evolve

from pandatx.domain.caller import Caller
from pandatx.domain.split_rules import NAMES, in_words
from pandatx.domain.task_listing import (
    ATTRIBUTES,
    COLUMNS,
    NUMBERS,
    TIMES,
    BadFilter,
    DatasetRead,
    Progress,
    TaskRead,
    described,
    fits,
    names_of,
    read_filters,
    read_since,
    statistics,
)

ME = Caller(dn="/CN=me", name="me", how="x509")
ROW: dict[str, Any] = dict.fromkeys(COLUMNS) | {"jeditaskid": 7, "username": "me", "splitrule": "NF=2,US=1"}


def dataset(**values: Any) -> DatasetRead:
    return DatasetRead(**{"id": 1, "name": "d", "container": None, "type": "input", "main": True, **values})


def test_every_attribute_has_one_kind() -> None:
    assert len(ATTRIBUTES) == len(set(ATTRIBUTES)) == 84
    assert not TIMES & NUMBERS
    assert set(ATTRIBUTES) >= TIMES | NUMBERS


def test_a_split_rule_is_told_in_words() -> None:
    assert (
        in_words("NF=2,US=1,AN=1,2,3,IP=2")
        == "nFilesPerJob=2,useScout=no_use,addNthFieldToLFN=1_2_3,ipConnectivity=http"
    )
    assert in_words("QQ=1,words,US=9") == "QQ=1,words,useScout=9"
    assert (in_words(None), in_words("")) == (None, "")
    assert len(set(NAMES.values())) == len(NAMES)


def test_a_task_has_its_attributes_parameters_and_progress() -> None:
    read = TaskRead(
        row=ROW,
        parameters='{"cliParams": "prun", "nFiles": 4}',
        template="-i ${IN}",
        progress=Progress(files=3, finished=1, failed=2, missing=1),
    )
    told = described(read, ME)
    assert set(told) == {
        *ATTRIBUTES, "job_execution_params", "task_creation_arguments", "raw_task_params", "nFiles", "nFilesFinished",
        "nFilesFailed", "nFilesMissing", "pctFinished", "pctFailed",
    }  # fmt: skip
    assert (told["jediTaskID"], told["splitRule"]) == (7, "nFilesPerJob=2,useScout=no_use")
    assert (told["job_execution_params"], told["task_creation_arguments"]) == ("-i ${IN}", "prun")
    assert told["raw_task_params"] == {"cliParams": "prun", "nFiles": 4}
    assert [told[name] for name in ("nFiles", "nFilesFinished", "nFilesFailed", "nFilesMissing")] == [3, 1, 2, 1]
    assert (told["pctFinished"], told["pctFailed"]) == (33, 67)


def test_a_task_without_files_or_readable_parameters_is_told_without_them() -> None:
    for parameters in (None, "no JSON", "[1]"):
        told = described(TaskRead(row=ROW, parameters=parameters), ME)
        assert (told["pctFinished"], told["pctFailed"], told["nFiles"]) == (0, 0, 0)
        assert "raw_task_params" not in told and "task_creation_arguments" not in told


@pytest.mark.parametrize(
    ("reader", "sees"),
    [
        (ME, True),
        (evolve(ME, name="other", production=True), True),
        (evolve(ME, name="other"), False),
        (evolve(ME, limited=True), False),
        (Caller(), False),
        (Caller(name="me"), False),
    ],
)
def test_secrets_in_parameters_are_for_the_owner_and_the_production_role(reader: Caller, sees: bool) -> None:
    read = TaskRead(row=ROW, parameters='{"cliParams": "prun --token abc", "password": "x"}', template="--token abc")
    told = json.dumps(described(read, reader), default=str)
    assert ("abc" in told) is sees
    assert ('"password": "x"' in told) is sees


def test_filters_are_equalities_unless_they_have_special_characters() -> None:
    found = read_filters('{"status": "done", "reqID": "45", "taskName": "a.*b", "site": "NULL", "cloud": null}', "me")
    assert (found.user, found.equal) == ("me", {"status": "done", "reqid": 45, "site": None, "cloud": None})
    assert (found.req_id, found.task_id, list(found.patterns)) == (45, None, ["taskName"])
    assert read_filters('{"endTime": "NOT NULL"}', "me").filled == ("endtime",)
    assert read_filters('{"creationDate": "2026-01-02 03:04:05"}', "me").equal == {
        "creationdate": "2026-01-02T03:04:05"
    }
    assert read_filters('{"jediTaskID": 7}', "me").task_id == 7
    assert read_filters(None, "me") == read_filters("", "me") == read_filters("{}", "me")


def test_another_owner_may_be_named() -> None:
    assert read_filters('{"userName": "other"}', "me").user == "other"
    assert read_filters('{"userName": "ot.*"}', "me").user == "me"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1]", "filters must be a JSON object"),
        ("{", "filters is not valid JSON"),
        ("[" * 10_000, "filters is not valid JSON"),
        ('{"nothing": "x"}', "unknown attribute nothing in filters"),
        ('{"reqID": "x"}', "filters: reqID cannot be 'x'"),
        ('{"reqID": "nan"}', "filters: reqID cannot be 'nan'"),
        ('{"startTime": "today"}', "filters: startTime cannot be 'today'"),
        ('{"status": "(("}', "filters: status is no pattern"),
        ('{"reqID": "9223372036854775808"}', "filters: reqID cannot be '9223372036854775808'"),
        ('{"status": "\\u0000"}', "filters: status has a character that no text can have"),
        (f'{{"status": "{"a" * 4000}*"}}', "filters: status is a pattern of more than 4000 characters"),
        (f'{{"status": "{"a" * 16_000}"}}', "filters must have at most 16000 characters"),
    ],
)
def test_filters_that_cannot_be_used_are_refused(text: str, why: str) -> None:
    with pytest.raises(BadFilter) as refused:
        read_filters(text, "me")
    assert str(refused.value).startswith(why)


def test_since_is_a_time_of_the_clients_form() -> None:
    assert read_since("2026-01-02 03:04:05") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert read_since(None) is None
    with pytest.raises(BadFilter, match="since must be in the form YYYY-mm-dd HH:MM:SS"):
        read_since("yesterday")


def test_all_patterns_must_be_found_and_unknown_ones_are_passed_over() -> None:
    task = {"status": "done", "reqID": 45, "startTime": datetime(2026, 1, 2, tzinfo=UTC), "site": None}
    patterns = read_filters('{"status": "^(done|failed)$", "reqID": "4+", "startTime": "^2026", "odd": "x|y"}', "me")
    assert fits(task, patterns.patterns)
    assert not fits({**task, "status": "finished"}, patterns.patterns)
    assert fits(task, {})


def test_a_pattern_that_takes_too_long_is_not_found() -> None:
    slow = read_filters('{"status": "(a|aa|aaa)+$b"}', "me").patterns
    assert not fits({"status": "a" * 5000}, slow)


def test_datasets_are_told_by_their_containers_and_once() -> None:
    datasets = [
        dataset(id=1, name="a", container="c"),
        dataset(id=2, name="b", container="c"),
        dataset(id=3, name="s", main=False),
        dataset(id=4, name="p", type="pseudo_input"),
        dataset(id=5, name="o", type="output"),
        dataset(id=6, name="l", type="log", container="logs"),
        dataset(id=7, name="t", type="trn_log"),
        dataset(id=8, name="to", type="tmpl_trn_output"),
    ]
    assert names_of(datasets) == ("c", "o,logs")


def test_statistics_say_what_became_of_input_files() -> None:
    datasets = [
        dataset(files=10, used=7, finished=2, failed=1),
        dataset(id=2, files=99, used=9, main=False),
        dataset(id=3, type="output", files=50),
    ]
    told = statistics(datasets, {"running": 2, "failed": 5, "activated": 1})
    assert told == "tobedone*3,finished*2,failed*1,activated*1,running*2,picked*1"
    assert statistics([dataset(files=5, used=5, finished=5)], {}) == "finished*5"
    assert statistics([], {}) == ""
