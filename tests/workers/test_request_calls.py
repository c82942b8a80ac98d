"""What asynchronous requests run in a child."""

import gzip

import pytest

from pandatx.workers.requests import grep, missing_files, sleep_echo


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "panda-a.log").write_bytes(b"first line\nsecond \xff line\nthird\n")
    with gzip.open(folder / "panda-a.log.1.gz", "wb") as old:
        old.write(b"old line\n")
    (tmp_path / "secret").write_text("password line\n")
    return folder


def ask(logs, pattern, name="panda-a.log"):
    return grep({"pattern": pattern, "log_filename": name}, {"log_dir": str(logs)})


def test_lines_that_fit_are_given_with_the_code_of_grep(logs):
    found = ask(logs, r"^\w+ .*line$")
    assert (found["result"], found["return_code"]) == ("first line\nsecond \N{REPLACEMENT CHARACTER} line\n", 0)
    nothing = ask(logs, "fourth")
    assert (nothing["status"], nothing["result"], nothing["return_code"]) == ("done", "", 1)


def test_compressed_logs_are_read_too(logs):
    assert ask(logs, "line", "panda-a.log.1.gz")["result"] == "old line\n"


@pytest.mark.parametrize("pattern", ["(", "*", "[a", "a{99999999999999}", "\ud800"])
def test_a_pattern_that_is_none_is_told_as_grep_does(logs, pattern):
    found = ask(logs, pattern)
    assert (found["return_code"], found["result"]) == (2, "")
    assert "the pattern cannot be used" in found["stderr"]


@pytest.mark.parametrize("pattern", ["--pre=touch x", "-f /etc/passwd", "; touch x", "$(touch x)", "`touch x`"])
def test_no_pattern_is_an_option_or_a_command(logs, pattern, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ask(logs, pattern)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "", "panda-\0.log"])
def test_nothing_outside_the_folder_of_logs_is_read(logs, name):
    found = ask(logs, "", name)
    assert (found["return_code"], found["result"]) == (2, "")


def test_links_folders_and_pipes_are_no_logs(logs, tmp_path):
    import os

    (logs / "panda-link.log").symlink_to(tmp_path / "secret")
    (logs / "panda-folder.log").mkdir()
    os.mkfifo(logs / "panda-pipe.log")
    for name in ("panda-link.log", "panda-folder.log", "panda-pipe.log", "panda-none.log", "panda-none.gz"):
        found = ask(logs, ".", name)
        assert (found["return_code"], found["result"]) == (2, ""), name
        assert name in found["stderr"]


def test_a_broken_archive_is_a_fault_of_the_file(logs):
    (logs / "panda-b.gz").write_bytes(b"no gzip")
    assert ask(logs, ".", "panda-b.gz")["return_code"] == 2
    broken = bytearray(gzip.compress(b"a b c d e f\n" * 3000))
    broken[30] ^= 0xFF
    (logs / "panda-b.gz").write_bytes(broken)
    assert ask(logs, ".", "panda-b.gz")["return_code"] == 2


def test_what_is_too_much_ends_with_a_million_characters(logs):
    (logs / "panda-big.log").write_text("x" * 99 + "\n" * 1 + ("y" * 99 + "\n") * 20_000)
    found = ask(logs, "y", "panda-big.log")
    assert (found["truncated"], len(found["result"])) == (True, 1_000_000)


def test_an_echo_says_what_it_was_asked_to():
    assert sleep_echo({"seconds": 0, "message": "$(date)"}, {})["result"] == "$(date)\n"


def test_files_that_are_not_where_they_should_be_are_missing(tmp_path):
    from pandatx.plugins.storage import path_in

    there = path_in(str(tmp_path), "user.me", "there")
    there.parent.mkdir(parents=True)
    there.touch()
    rows = [["RSE", "user.me", "there"], ["RSE", "user.me", "gone"], ["RSE", None, "gone"], ["RSE", "user.me", "../x"]]
    assert missing_files(rows, {"RSE": str(tmp_path)}) == [1, 2]


def test_no_file_is_lost_because_its_storage_is_away(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        with pytest.raises(OSError):
            missing_files([["RSE", "s", "x"]], {"RSE": str(tmp_path / folder)})
