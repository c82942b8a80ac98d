"""Whoever comes to own something has the name from then on, and another subject of that name is refused (rule R27)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asking import JSON, get, post
from attrs import evolve
from real import Real
from sites import PILOT, PRODUCTION, USER
from steering import PARAMETERS, rows

from pandatx.domain.caller import Caller
from pandatx.domain.user_proxies import file_name

NAMESAKE = evolve(USER, dn="/DC=evil/CN=Some User")
TOKEN = evolve(USER, dn="Some User", how="token", issuer="https://iam.example/", subject="f00")
BOUND = "SELECT name, subject, also FROM owners"
WHY = "the name Some User belongs to another identity than {}"

Act = Callable[[Real, Caller], Awaitable[Any]]


async def send_sandbox(real: Real, caller: Caller) -> Any:
    real.caller = caller
    head = '--b\r\nContent-Disposition: form-data; name="file"; filename="sources.1.tar.gz"\r\n\r\n'
    body = head.encode() + b"x" * 200 + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    return await real.ask("POST", "/api/v1/file_server/upload_cache_file", body, content_type=kind, accept=JSON)


ACTS: dict[str, Act] = {
    "tasks": lambda real, who: post(real, "task/submit", who, task_parameters=PARAMETERS),
    "workflows": lambda real, who: post(real, "workflow/submit_workflow", who, workflow_definition={"a": 1}),
    "raw workflows": lambda real, who: post(real, "workflow/submit_workflow_raw_request", who, params={"a": 1}),
    "secrets": lambda real, who: post(real, "creds/set_user_secrets", who, key="k", value="v"),
    "Harvesters": lambda real, who: post(real, "harvester/heartbeat", who, harvester_id="h", data={}),
    "sandboxes": send_sandbox,
    "searches of logs": lambda real, who: post(
        real, "async_process/submit_grep_request", who, pattern="x", log_filename="panda-x.log", machine_name="m"
    ),
    "credentials by letters": lambda real, who: get(real, "creds/get_proxy", who, dn="robot"),
}


@pytest.fixture
def site(real: Real, tmp_path: Path) -> Real:
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "credentials").mkdir(mode=0o700, exist_ok=True)
    (tmp_path / "credentials" / file_name("robot", None)).write_text("a proxy")
    real.run("INSERT INTO doma_pandameta.users (id, name, dn, gridpref) VALUES (9, 'Some User', '/DC=x', 'ap')")
    return real


def told(got: Any) -> tuple[bool, str]:
    return got.json["success"], got.json["message"]


@pytest.mark.parametrize("act", list(ACTS.values()), ids=list(ACTS))
@pytest.mark.parametrize("second", [NAMESAKE, TOKEN], ids=["certificate", "token"])
async def test_who_comes_to_own_something_has_the_name_at_once(site: Real, act: Act, second: Caller) -> None:
    await site.core.facts.refresh()
    await get(site, "creds/get_user_secrets", second)  # this server knows now that the name is nobody's
    assert rows(site, BOUND) == []
    first = await act(site, USER)
    assert told(first)[0], first.text
    assert rows(site, BOUND) == [("Some User", USER.dn, [])]
    before = site.contents()
    assert told(await act(site, second)) == (False, WHY.format(second.identity))
    assert site.contents() == before
    assert told(await act(site, USER))[1] != WHY.format(USER.dn)


@pytest.mark.parametrize("act", list(ACTS.values()), ids=list(ACTS))
async def test_a_name_that_was_bound_by_another_server_in_the_last_minute_makes_nothing(site: Real, act: Act) -> None:
    await site.core.facts.refresh()
    await get(site, "creds/get_user_secrets", NAMESAKE)
    site.run("INSERT INTO pandatx.owners (name, subject, first_seen) VALUES ('Some User', '/DC=x', now())")
    before = site.contents()
    assert told(await act(site, NAMESAKE)) == (False, WHY.format(NAMESAKE.dn))
    assert site.contents() == before


async def test_refused_calls_bind_nothing(site: Real) -> None:
    before = site.contents()
    assert not told(await post(site, "task/submit", USER, task_parameters={"taskName": "x"}))[0]
    assert not told(await post(site, "workflow/submit_workflow", USER, workflow_definition={"workflow_name": 1}))[0]
    orphan = {**PARAMETERS, "parentTaskName": "none"}
    why = told(await post(site, "task/submit", USER, task_parameters=orphan))[1]
    assert why.startswith("failed to find parent"), "that is found out when the name is bound already"
    assert site.contents() == before


async def test_pilots_bind_no_name_by_what_they_do_in_their_role(site: Real) -> None:
    await post(site, "harvester/heartbeat", PILOT, harvester_id="h", data={})
    await send_sandbox(site, PILOT)
    site.run("INSERT INTO doma_pandameta.users (id, name, gridpref) VALUES (8, 'Pilot', 'p')")
    await site.core.facts.refresh()
    assert (await get(site, "creds/get_proxy", PILOT, dn="robot")).json["success"]
    assert rows(site, BOUND) == []


async def test_no_role_opens_the_secrets_of_a_namesake(site: Real) -> None:
    await post(site, "creds/set_user_secrets", USER, key="k", value="v")
    chief = evolve(PRODUCTION, name=USER.name)
    assert told(await get(site, "creds/get_user_secrets", chief)) == (False, WHY.format(chief.dn))
