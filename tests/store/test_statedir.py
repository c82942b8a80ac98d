"""The state directory and its locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pandatx.errors import StartFault
from pandatx.store.statedir import StateDirectory

HOLDER = """
import sys
from pathlib import Path
from pandatx.store.statedir import StateDirectory
state = StateDirectory(Path(sys.argv[1]))
lock = state.lock("server")
print(state.instance, flush=True)
sys.stdin.read()
"""


def test_it_is_made_for_us_alone(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "a" / "state")
    state.make()
    assert state.path.stat().st_mode & 0o777 == 0o700


def test_an_open_one_is_shut_to_others(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(0o755)
    StateDirectory(path).make()
    assert path.stat().st_mode & 0o777 == 0o700


def test_a_file_in_its_place_is_one_clear_fault(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StartFault, match="cannot be used"):
        StateDirectory(tmp_path / "state").make()


def test_a_lock_has_one_holder_and_says_who(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    lock = state.lock("daemon")
    assert lock is not None
    assert state.lock("daemon") is None
    assert state.holder("daemon") == state.instance
    assert state.lock("server") is not None
    lock.release()
    lock.release()
    assert state.lock("daemon") is not None


def test_a_lock_ends_with_a_killed_holder(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdin is not None
    instance = holder.stdout.readline().strip()
    state = StateDirectory(tmp_path)
    assert state.lock("server") is None
    assert state.holder("server") == instance
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    assert state.lock("server") is not None


def test_two_processes_of_one_host_and_number_have_different_instances(tmp_path: Path) -> None:
    one, other = StateDirectory(tmp_path), StateDirectory(tmp_path)
    assert one.instance != other.instance
    assert len(one.instance) <= 40
    assert one.instance.count("-") >= 2


def test_a_server_that_goes_to_the_background_stays_the_instance_that_it_was(tmp_path):
    state = StateDirectory(tmp_path)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, state.instance.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100).decode() == state.instance
    os.close(read)
    os.close(write)
