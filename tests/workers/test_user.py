"""Which user children become (R34)."""

from __future__ import annotations

import grp
import os
import pwd
import site
import sys
from pathlib import Path

import pytest
from twisted.logger import globalLogPublisher

import pandatx
from pandatx.config import Config
from pandatx.foundations import pool_settings
from pandatx.net.user import ServerUser
from pandatx.store.statedir import StateDirectory
from pandatx.workers.user import ChildUser, resolve_user


@pytest.fixture
def warnings():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_no_name_and_the_own_name_mean_the_servers_user_without_a_word(warnings):
    assert resolve_user(None, None) is None
    assert resolve_user(pwd.getpwuid(os.geteuid()).pw_name, None) is None
    assert warnings == []


def test_an_unknown_name_is_one_warning_and_the_servers_user(warnings):
    assert resolve_user("no-such-user-here", None) is None
    assert ["no-such-user-here" in event["why"] for event in warnings] == [True]


def test_an_unknown_group_is_one_warning_and_the_servers_user(warnings):
    assert resolve_user("nobody", "no-such-group-here") is None
    assert len(warnings) == 1


def test_a_python_that_the_user_cannot_run_is_one_warning_and_the_servers_user(warnings, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    python = closed / "python"
    python.symlink_to(sys.executable)
    assert resolve_user("nobody", None, str(python)) is None
    assert len(warnings) == 1


def test_a_server_that_is_not_root_keeps_its_user_without_a_word(warnings, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert resolve_user("nobody", None) is None
    assert warnings == []


def runnable_by_nobody(monkeypatch):
    """A Python that nobody can run with our packages: ours, or the system's where ours lies behind a closed door."""
    packages = [str(Path(pandatx.__file__).parents[1]), *site.getsitepackages()]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(packages))
    systems = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    return next((each for each in (sys.executable, systems) if resolve_user("nobody", None, each)), None)


async def test_children_of_root_become_the_user_with_all_its_groups_and_its_home(scripts, monkeypatch):
    python = runnable_by_nobody(monkeypatch)
    if python is None:  # then the server's own user is what the rule wants
        assert resolve_user("nobody", None) is None
        return
    monkeypatch.setattr(sys, "executable", python)
    user = resolve_user("nobody", "daemon", python)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ["PYTHONPATH"]}
    pool = await scripts.start(user=user, environment=environment)
    nobody = pwd.getpwnam("nobody")
    gid = grp.getgrnam("daemon").gr_gid
    assert [await pool.call(f"os:{name}", timeout=10) for name in ("getuid", "geteuid", "getgid")] == [
        nobody.pw_uid,
        nobody.pw_uid,
        gid,
    ]
    assert sorted(await pool.call("os:getgroups", timeout=10)) == sorted(os.getgrouplist("nobody", gid))
    assert await pool.call("os:getenv", "HOME", timeout=10) == nobody.pw_dir
    assert await pool.call("os:getenv", "USER", timeout=10) == "nobody"


CHILD = ChildUser("panda", 4711, 4711, "/home/panda")
SERVER = ServerUser(name="panda", uid=4711, gid=4711, home="/home/panda")


@pytest.mark.parametrize(("child", "server"), [(CHILD, None), (None, SERVER), (None, None)])
def test_children_have_the_home_that_the_operator_has_given_the_service_for_rucio(tmp_path, child, server):
    assert home_of_children(tmp_path, child, server, HOME="/data/panda") == "/data/panda"


@pytest.mark.parametrize(("child", "server"), [(CHILD, None), (None, SERVER)])
def test_children_that_become_another_user_have_its_home_and_not_that_of_who_starts_the_server(tmp_path, child, server):
    assert home_of_children(tmp_path, child, server, HOME=pwd.getpwuid(os.geteuid()).pw_dir) == "/home/panda"
    assert home_of_children(tmp_path, child, server) == "/home/panda"


def home_of_children(tmp_path, child, server, **environ):
    settings = pool_settings(Config.for_tests(tmp_path), child, server, StateDirectory(tmp_path), environ)
    return settings.environment["HOME"]
