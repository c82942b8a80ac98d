"""The log files: where, what, and what never."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import Logger, LogLevel, LogPublisher

import pandatx
from pandatx.errors import StartFault
from pandatx.metrics import LOG_LINES_LOST
from pandatx.ops.logs import ACCESS, ERRORS, LONGEST, PARTS, LogFile, Logs, file_of, line, without_secrets


def event(template: str, /, **fields: Any) -> dict[str, Any]:
    return {
        "log_time": 1767225600.1239,
        "log_level": LogLevel.info,
        "log_namespace": "pandatx.services.dispatch",
        "log_format": template,
        **fields,
    }


def test_a_line_has_time_name_level_message_and_the_fields_it_does_not_say() -> None:
    assert line(event("{queue}: sent {n} jobs", queue="LOCAL", n=2, request_id="r 1", task=None)) == (
        "2026-01-01 00:00:00,123 pandatx.services.dispatch: INFO LOCAL: sent 2 jobs request_id='r 1' task=None\n"
    )


def test_a_text_from_outside_cannot_forge_a_line() -> None:
    said = line(event("by {who}", who="x\n2026-01-01 00:00:00,000 a: INFO b"))
    assert said.count("\n") == 1
    assert "by x\\n2026" in said


def test_a_traceback_follows_on_lines_of_its_own(tmp_path: Path) -> None:
    logs = Logs(tmp_path, LogLevel.info)
    logger = Logger("pandatx.services.adder", observer=LogPublisher(logs))
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        logger.failure("adder broke")
    text = (tmp_path / "panda-Adder.log").read_text()
    assert "CRITICAL adder broke\n    Traceback" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer SEKRET.abc",
        "host=h password=SEKRET user=u",
        'dbpasswd = "SEKRET with blanks"',
        "{'token': 'SEKRET'}",
        "got eyJhbGciOi.SEKRETabc.sig from x",
        "-----BEGIN EC PRIVATE KEY-----\nSEKRET\n-----END EC PRIVATE KEY-----",
        "/x?access_token=SEKRET&y=1",
    ],
)
def test_secrets_are_not_written(text: str) -> None:
    assert "SEKRET" not in without_secrets(text)
    assert "SEKRET" not in line(event("{text}", text=text))
    assert "SEKRET" not in line(event("x", text=text))


def test_a_field_that_is_a_secret_by_name_is_not_written() -> None:
    assert "SEKRET" not in line(event("x", db_password="SEKRET"))


@pytest.mark.parametrize(
    "part", ["token-", "secret=", "a-", "eyJ-", "eyJ", "token ", "token='", "bearer ", "-----BEGIN "]
)
def test_no_text_of_a_caller_holds_up_the_server_while_it_is_logged(part: str) -> None:
    begun = process_time()
    for text in (part * 100, part * 1_000_000):
        assert len(line(event("{text}", text=text))) < 2 * LONGEST
        assert len(line(event("x", text=text))) < 2 * LONGEST
    assert process_time() - begun < 1


def test_ordinary_words_stay() -> None:
    text = "job 12 of token holder Jo: tokens 3, jobs sent"
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("pandatx.scheduler.loop", "panda-daemons.log"),
        ("pandatx.scheduler.daemons.add_main", "panda-add_main.log"),
        ("pandatx.services.dispatch", "panda-JobDispatcher.log"),
        ("pandatx.store.database", "panda-DBProxy.log"),
        ("pandatx.app", "panda-server.log"),
        ("twisted.internet", "panda-server.log"),
    ],
)
def test_each_part_has_its_file(namespace: str, name: str) -> None:
    assert file_of(namespace) == name


def test_warnings_stand_in_the_error_log_too_and_debug_nowhere(tmp_path: Path) -> None:
    logs = Logs(tmp_path / "log", LogLevel.info)
    logs.open()
    logger = Logger("pandatx.app", observer=LogPublisher(logs))
    logger.debug("quiet")
    logger.info("said")
    logger.warn("careful")
    assert [row.split(": ")[1] for row in (tmp_path / "log/panda-server.log").read_text().splitlines()] == [
        "INFO said",
        "WARN careful",
    ]
    assert (tmp_path / "log" / ERRORS).read_text().count("\n") == 1


def test_in_the_foreground_all_lines_go_to_standard_output_too(tmp_path: Path) -> None:
    output = io.BytesIO()
    logger = Logger("pandatx.app", observer=LogPublisher(Logs(tmp_path, LogLevel.info, output)))
    logger.info("said")
    assert output.getvalue().endswith(b"pandatx.app: INFO said\n")


def test_a_file_that_was_moved_away_is_there_again_within_a_second(tmp_path: Path) -> None:
    now = [0.0]
    file = LogFile(tmp_path / "x.log", lambda: now[0])
    file.write("one\n")
    file.path.rename(tmp_path / "x.log.1")
    file.write("two\n")
    now[0] = 1.0
    file.write("three\n")
    assert (tmp_path / "x.log.1").read_text() == "one\ntwo\n"
    assert file.path.read_text() == "three\n"


def test_a_file_that_was_truncated_goes_on_at_its_start(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "x.log")
    file.write("one\n")
    os.truncate(file.path, 0)
    file.write("two\n")
    assert file.path.read_text() == "two\n"


async def test_sigusr1_reopens_at_once(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    logs = Logs(tmp_path, LogLevel.info, now=lambda: 0.0)
    logs.reopen_on_signal(reactor)
    try:
        logs.access("one")
        (tmp_path / ACCESS).rename(tmp_path / "old")
        os.kill(os.getpid(), signal.SIGUSR1)
        await deferLater(reactor, 0)
        while logs.file(ACCESS)._descriptor >= 0:
            await deferLater(reactor, 0)
        logs.access("two")
        assert (tmp_path / ACCESS).read_text() == "two\n"
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_disk_that_is_full_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    before = LOG_LINES_LOST._value.get()
    (tmp_path / "full").symlink_to("/dev/full")
    LogFile(tmp_path / "full").write("x\n")
    assert LOG_LINES_LOST._value.get() == before + 1


def test_a_folder_that_cannot_be_made_is_one_clear_fault(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with pytest.raises(StartFault, match="logdir"):
        Logs(tmp_path / "log", LogLevel.info).open()


OF_THE_SERVER = {"batching", "complaints", "counters", "facts", "groups", "instances", "locks", "statistics"}
"""Services whose words belong to no part that operators know by name."""


def test_every_service_writes_to_the_file_that_operators_look_into() -> None:
    services = Path(pandatx.__file__).parent / "services"
    names = {module.stem for module in services.glob("*.py")} - {"__init__"}
    general = {name for name in names if file_of(f"pandatx.services.{name}") == "panda-server.log"}
    assert general == OF_THE_SERVER


@pytest.mark.parametrize("prefix", [prefix for prefix, _ in PARTS if prefix])
def test_every_part_that_has_a_file_exists(prefix: str) -> None:
    assert importlib.util.find_spec(prefix.rstrip(".")) is not None
