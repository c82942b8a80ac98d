"""Proxies of active users: whose, by the plugin in a child, in which files, and when they go."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_twisted
from test_submission import execute
from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.domain.user_proxies import file_name
from pandatx.identity.authority import make_authority, make_proxy, make_user
from pandatx.plugins.proxies import MyProxy
from pandatx.services.user_proxies import Kept, UserProxies
from pandatx.workers.pool import CallFailed, PoolSettings, ProcessPool

CLOCK = Clock(reactor)
ME, YOU = "/DC=ch/DC=cern/OU=Users/CN=me/CN=123/CN=Me Myself", "/O=grid/CN=You"
CA = make_authority("/O=grid/CN=CA", CLOCK.now())
USER = make_user(CA, YOU, CLOCK.now())


def pem(hours: float) -> str:
    return make_proxy(USER, CLOCK.now(), hours=hours).pem().decode()


class Plugins:
    """Stands for the pool: gives proxies of so many hours, or what ``answer`` says."""

    def __init__(self) -> None:
        self.calls = []
        self.hours = 96.0
        self.answer = None

    async def call(self, name, target, dn, roles, settings, timeout, context):
        self.calls.append((dn, roles))
        assert (name, target, settings) == ("pandatx.plugins.proxies:fetch", "mine:Source", {"hours": 96})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or [{"role": role, "pem": pem(self.hours), "error": None} for role in roles]


class Users:
    """The service, its clock to be moved, and the table of users."""

    def __init__(self, database, directory: Path, *roles: str) -> None:
        self.database, self.directory, self.plugins, self.moved = database, directory, Plugins(), timedelta()
        clock = SimpleNamespace(now=lambda: CLOCK.now() + self.moved)
        self.service = UserProxies(database, clock, self.plugins, directory, "mine:Source", roles, {"hours": 96})

    async def put(self, *rows: tuple) -> None:
        await execute(self.database, "DELETE FROM {meta}.users")
        for number, (dn, letters, status) in enumerate(rows):
            await execute(
                self.database,
                "INSERT INTO {meta}.users (id, name, dn, gridpref, status) "
                "VALUES (%(number)s, 'n', %(dn)s, %(letters)s, %(status)s)",
                number=number,
                dn=dn,
                letters=letters,
                status=status,
            )

    async def refresh(self) -> Kept:
        return await self.service.refresh(_at_once)

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.directory.iterdir() if not path.name.startswith(".")}


async def _at_once() -> None:
    pass


@pytest.fixture
def users(database, tmp_path) -> Users:
    return Users(database, tmp_path / "credentials")


async def test_users_with_the_letter_p_have_a_proxy_under_dn_and_name(users):
    await users.put((f"{YOU}/CN=proxy", "kp", None), (ME, "p", "active"), ("/CN=not", "k", None), (None, "p", None))
    assert await users.refresh() == Kept(fetched=2)
    assert users.plugins.calls == [(ME, [None]), (YOU, [None])]
    assert users.files == {file_name(holder, None) for holder in (YOU, "You", ME, "Me Myself")}
    for name in users.files:
        assert (users.directory / name).stat().st_mode & 0o777 == 0o600


async def test_users_that_are_disabled_have_none(users):
    await users.put((YOU, "p", "disabled"), (ME, None, None))
    assert await users.refresh() == Kept()
    assert users.plugins.calls == []


async def test_there_is_a_proxy_for_each_role(database, tmp_path):
    users = Users(database, tmp_path / "c", "atlas", "atlas:/atlas/Role=pilot")
    await users.put((YOU, "p", None))
    assert await users.refresh() == Kept(fetched=2)
    assert users.plugins.calls == [(YOU, ["atlas", "atlas:/atlas/Role=pilot"])]
    assert users.files == {file_name(of, role) for of in (YOU, "You") for role in ("atlas", "Role=pilot")}


async def test_a_proxy_is_renewed_when_94_hours_are_left(users):
    await users.put((YOU, "p", None))
    await users.refresh()
    users.moved = timedelta(hours=1.9)
    assert await users.refresh() == Kept()
    users.moved = timedelta(hours=2.1)
    assert await users.refresh() == Kept(fetched=1)


async def test_after_a_try_the_next_one_comes_an_hour_later(users):
    users.plugins.hours = 12
    await users.put((YOU, "p", None))
    await users.refresh()
    users.moved = timedelta(minutes=59)
    await users.refresh()
    assert len(users.plugins.calls) == 1
    users.moved = timedelta(minutes=61)
    await users.refresh()
    assert len(users.plugins.calls) == 2


@pytest.mark.parametrize(
    "answer",
    [
        CallFailed("ImportError: no such plugin"),
        [{"role": None, "pem": None, "error": "no credentials found"}],
        [{"role": None, "pem": "text", "error": None}],
        [{"role": None, "pem": 7, "error": None}],
    ],
)
async def test_a_proxy_that_cannot_be_had_leaves_the_old_one(users, answer):
    await users.put((YOU, "p", None))
    await users.refresh()
    before = (users.directory / file_name(YOU, None)).read_bytes()
    users.moved, users.plugins.answer = timedelta(hours=3), answer
    assert await users.refresh() == Kept(failed=1)
    assert (users.directory / file_name(YOU, None)).read_bytes() == before


async def test_who_loses_the_right_loses_the_files_and_nobody_elses_go(users):
    await users.put((YOU, "p", None), (ME, "p", None))
    await users.refresh()
    (users.directory / "access_token_x").write_text("")
    await users.put((ME, "p", None))
    assert await users.refresh() == Kept(removed=2)
    assert users.files == {file_name(ME, None), file_name("Me Myself", None), "access_token_x"}


PROGRAM = """#!{python}
import sys
arguments = sys.argv[1:]
out = arguments[arguments.index("--out" if "--out" in arguments else "-out") + 1]
with open("{log}", "a") as log:
    log.write(" ".join([sys.argv[0].rpartition("/")[2], *arguments]) + "\\n")
if "/CN=nobody" in arguments:
    sys.exit("no credentials found")
open(out, "w").write("pem of " + arguments[-1])
"""


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Path:
    """myproxy-logon and voms-proxy-init that write down how they were called."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    for name in ("myproxy-logon", "voms-proxy-init"):
        (folder / name).write_text(PROGRAM.format(python=sys.executable, log=log))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return log


SETTINGS = {"server": "myproxy.example.org", "hours": 96}


def test_myproxy_logs_on_once_and_adds_the_attributes_of_each_role(programs):
    found = MyProxy().fetch(YOU, [None, "atlas:/atlas/Role=pilot"], SETTINGS)
    assert [one["error"] for one in found] == [None, None]
    assert [one["pem"] for one in found] == ["pem of 0", "pem of atlas:/atlas/Role=pilot"]
    logon, voms = programs.read_text().splitlines()
    assert logon.startswith("myproxy-logon -s myproxy.example.org --no_passphrase --out ")
    assert logon.endswith(f"-l {YOU} -k panda -t 0")
    assert voms.startswith("voms-proxy-init -cert ")
    assert voms.endswith("-vomses /etc/vomses -valid 96:00 -rfc -n -voms atlas:/atlas/Role=pilot")


def test_a_log_on_that_fails_is_the_error_of_each_role(programs):
    found = MyProxy().fetch("/CN=nobody", ["a", "b"], SETTINGS)
    text = "myproxy-logon ended with 1: no credentials found"
    assert found == [{"role": role, "pem": None, "error": text} for role in ("a", "b")]


def test_a_program_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    (found,) = MyProxy().fetch(YOU, [None], SETTINGS)
    assert found["error"] == "myproxy-logon is not installed"


def test_myproxy_needs_a_server():
    with pytest.raises(ValueError, match="myproxy_server"):
        MyProxy().fetch(YOU, [None], {"server": None})


@pytest_twisted.async_yield_fixture
async def pool(programs):
    pool = ProcessPool(reactor, PoolSettings(size=1, environment={"PATH": os.environ["PATH"]}))
    await pool.start()
    yield pool
    await pool.stop()


async def test_the_plugin_runs_in_a_child(pool):
    name, target = "pandatx.plugins.proxies:fetch", "pandatx.plugins.proxies:MyProxy"
    (found,) = await pool.call(name, target, YOU, ["atlas"], SETTINGS, timeout=60)
    assert found == {"role": "atlas", "pem": "pem of atlas", "error": None}
    with pytest.raises(CallFailed, match="myproxy_server"):
        await pool.call(name, target, YOU, [None], {}, timeout=60)
