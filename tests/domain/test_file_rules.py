"""What files may be called, and how large they may be (reference/wire.md 3.5)."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain import file_requests as rules
from pandatx.domain.file_requests import MIB, FileRefused, Uploaded


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("jobO.1234.tar.gz", "jobO.1234.tar.gz"),
        ("/home/me/work/sources.1.tar.gz", "sources.1.tar.gz"),
        ("a.__ow__", "a.__ow__"),
        ("x" * 250, "x" * 250),
    ],
)
def test_a_file_is_called_by_the_last_part_of_the_path_that_a_client_gives(sent: str, kept: str) -> None:
    assert rules.sandbox_name(sent) == kept


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ("../secret", "another directory"), ("a/../../secret", "another directory"), ("..", "another directory"),
        ("/tmp/", "no name"), ("", "no name"), (".profile", "dot"), ("/a/.", "dot"),
        ("x" * 251, "longer than 250"),
        ("a b", "blanks"), ("a\tb", "blanks"), (" a", "blanks"), ("a\n", "blanks"), ("a\0b", "letters"),
        ("-rf", "letters"), ("a;b", "letters"), ("a\\b", "letters"), ("a:b", "letters"), ("ü", "letters"),
        ("a%2fb", "letters"), ("a?b", "letters"),
        ("CON", "device"), ("nul.tar.gz", "device"), ("com1", "device"), ("/dev/LPT9", "device"),
        ("workflow.1", "for itself"), ("recov.1", "for itself"), ("evp.1", "for itself"),
        ("hpo_cp_1_2", "for itself"), ("jedilog", "for itself"), ("schedconfig", "for itself"),
    ],
)  # fmt: skip
def test_names_that_are_no_files_of_users_are_refused(sent: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        rules.sandbox_name(sent)


@given(st.text())
def test_no_name_leads_out_of_a_directory(sent: str) -> None:
    try:
        name = rules.cache_name(sent)
    except ValueError:
        return
    assert Path("/cache", name).resolve().parent == Path("/cache")
    assert len(name.encode()) <= 255


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("sources.x.tar.gz", 768), ("/home/me/sources.x.tar.gz", 768), ("jobO.x.tar.gz", 10), ("x.out", 100),
        ("sources.x.out", 100),
    ],
)  # fmt: skip
def test_each_kind_of_file_has_a_limit_of_its_own(name: str, most: int) -> None:
    rules.judge_sandbox(name, most * MIB)
    with pytest.raises(FileRefused, match=rf"Exceeded size limit {most + 1} MB > {most} MB\. Please "):
        rules.judge_sandbox(name, most * MIB + 1)


def test_the_refusal_says_what_a_user_can_do() -> None:
    with pytest.raises(FileRefused) as told:
        rules.judge_sandbox("jobO.x", 12 * MIB)
    assert str(told.value) == (
        "ERROR: upload failure. Exceeded size limit 12 MB > 10 MB. Please submit the job without --noBuild/--libDS "
        "since those options impose a tighter size limit"
    )
    with pytest.raises(FileRefused, match="Please remove redundant files from your work area"):
        rules.judge_sandbox("sources.x", 769 * MIB)


def test_logs_and_checkpoints_have_limits() -> None:
    rules.judge_log("a", 100 * MIB)
    rules.judge_checkpoint("1_2", 500 * MIB)
    with pytest.raises(FileRefused, match="Exceeded size limit"):
        rules.judge_log("a", 100 * MIB + 1)
    with pytest.raises(FileRefused, match=r"Exceeded size limit \d+>524288000"):
        rules.judge_checkpoint("1_2", 500 * MIB + 1)


def test_a_checkpoint_is_named_by_its_task_and_sub_id() -> None:
    assert rules.checkpoint_ids("/data/12_3") == (12, "3")
    assert rules.checkpoint_name(12, "3") == "hpo_cp_12_3"
    for wrong in ("12", "a_1", "12_", "12_3_4", "12_../x", "12_a b", "_1", "9" * 20 + "_1"):
        with pytest.raises(ValueError):
            rules.checkpoint_ids(wrong)


def test_the_checksum_is_what_panda_client_reads_off_the_end_of_a_file() -> None:
    tail = (875770417).to_bytes(4, "little") + (99).to_bytes(4, "little")
    assert Uploaded(name="x", path=Path("x"), size=100, tail=tail).checksum == "875770417"
    assert Uploaded(name="x", path=Path("x"), size=3, tail=b"abc").checksum is None
