"""Daemons over the API: who may look and pause, and what they are told (rule R41)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import field, frozen
from sites import PRODUCTION, USER, site_of

from pandatx.domain.daemons import DaemonCondition, DaemonSeen, DaemonState
from pandatx.errors import NotFound
from pandatx.resources.pandatx_group import PandatxResource

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=UTC)


@frozen
class Board:
    """Stands for the service; remembers what was paused and resumed."""

    calls: list[Any] = field(factory=list)

    async def seen(self) -> list[DaemonSeen]:
        state = DaemonState(
            name="copyArchive",
            condition=DaemonCondition.WAITING,
            period=2400.0,
            sync=True,
            last_start=MOMENT,
            last_duration=1.25,
            runs=2,
            failures=1,
            last_error="no",
        )
        return [DaemonSeen(server="here-1", state=state, lock_holder="there-2", locked_until=MOMENT)]

    async def pause(self, caller: Any, name: str) -> None:
        self.calls.append(("pause", caller.name, name))

    async def resume(self, caller: Any, name: str) -> None:
        raise NotFound(f"daemon {name} is not paused")


def served(board: Board, **more: Any) -> Any:
    return site_of(PandatxResource(None, None, board, None), **more)  # type: ignore[arg-type]


async def test_daemons_are_listed_with_their_times_and_their_lock() -> None:
    answer = await served(Board(), caller=PRODUCTION).get("/api/v1/pandatx/list_daemons")
    assert answer.json["data"] == [
        {
            "name": "copyArchive",
            "condition": "waiting",
            "period": 2400.0,
            "sync": True,
            "loop": False,
            "last_start": "2026-01-02 03:04:05",
            "last_duration": 1.25,
            "next_start": None,
            "runs": 2,
            "failures": 1,
            "last_error": "no",
            "late": False,
            "server": "here-1",
            "lock_holder": "there-2",
            "locked_until": "2026-01-02 03:04:05",
        }
    ]


async def test_a_daemon_is_paused_by_its_name() -> None:
    board = Board()
    answer = await served(board, caller=PRODUCTION).rest("pandatx/pause_daemon", name="copyArchive")
    assert answer.json == {"success": True, "message": "", "data": "copyArchive"}
    assert board.calls == [("pause", PRODUCTION.name, "copyArchive")]


async def test_what_is_not_there_is_said_so() -> None:
    answer = await served(Board(), caller=PRODUCTION).rest("pandatx/resume_daemon", name="x")
    assert (answer.json["success"], answer.json["message"]) == (False, "daemon x is not paused")


@pytest.mark.parametrize("operation", ["pause_daemon", "resume_daemon"])
async def test_without_the_production_role_nobody_touches_a_daemon(operation: str) -> None:
    board = Board()
    for answer in (
        await served(board, caller=USER).rest(f"pandatx/{operation}", name="copyArchive"),
        await served(board, caller=USER).get("/api/v1/pandatx/list_daemons"),
    ):
        assert (answer.json["success"], answer.json["message"]) == (False, "production or pilot role required")
    assert board.calls == []
