"""The routes, the refusals and the shielding, over the real Klein application."""

from __future__ import annotations

from sites import site_of

from pandatx.resources.system import SystemResource


async def test_is_alive_is_said_in_both_dialects() -> None:
    site = site_of(SystemResource())
    assert (await site.get("/server/panda/isAlive")).text == "alive=yes"
    assert (await site.post("/server/panda/isAlive")).text == "alive=yes"
    for version in ("v1", "latest"):
        answer = await site.get(f"/api/{version}/system/is_alive")
        assert (answer.status, answer.json) == (200, {"success": True, "message": "", "data": None})


async def test_what_is_not_declared_is_forbidden() -> None:
    site = site_of(SystemResource())
    for path in ("/server/panda/collect", "/server/panda/isAlive/", "/server/panda//isAlive", "/", "/nothing"):
        answer = await site.post(path)
        assert answer.status == 403, path
        assert answer.text.startswith("ERROR : method "), path
    for path in ("/api/v1/system/nothing", "/api/v2/system/is_alive", "/api/v1/system/is_alive/", "/api/v1/system"):
        answer = await site.get(path)
        assert (answer.status, answer.json["success"]) == (403, False), path
