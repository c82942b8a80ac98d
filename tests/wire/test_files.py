"""Sandboxes, logs and checkpoints in both dialects, as panda-client and Harvester send them (wire.md 3.5, 5.2)."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import psycopg2
import pytest
from real import Real
from sites import ANYBODY, LIMITED, OTHER, PRODUCTION, USER, Got

from pandatx.config import Config
from pandatx.domain.file_requests import MIB
from pandatx.errors import DatabaseAway

JSON = "application/json"
SANDBOX = b"x" * 100 + (875770417).to_bytes(4, "little") + (100).to_bytes(4, "little")
OURS = "FOUND:here.example:"


def multipart(name: str, content: bytes, field: str = "file") -> tuple[bytes, str]:
    """As curl and httpx write it; Harvester's has no Content-Type in the part."""
    head = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"


@pytest.fixture
def cache(real: Real, tmp_path: Path) -> Iterator[Path]:
    real.core.files.book.host = "here.example"
    real.core.files.book.own_hosts = frozenset(("here.example",))
    real.caller = USER
    (tmp_path / "cache").mkdir(exist_ok=True)
    yield tmp_path / "cache"
    left = tmp_path / "cache" / ".incoming"
    assert not left.exists() or list(left.iterdir()) == [], "nothing stays of what came in"


async def send(real: Real, path: str, name: str, content: bytes, **headers: str) -> Got:
    body, kind = multipart(name, content)
    return await real.ask("POST", path, body, content_type=kind, **headers)


async def put(real: Real, name: str, content: bytes = SANDBOX) -> Got:
    return await send(real, "/api/v1/file_server/upload_cache_file", name, content, accept=JSON)


async def rest(real: Real, method: str, **values: Any) -> Any:
    got = await real.ask("POST", f"/api/v1/file_server/{method}", json.dumps(values).encode(), content_type=JSON)
    assert got.status == 200, got.text
    return got.json


async def legacy(real: Real, method: str, form: str) -> str:
    got = await real.ask(
        "POST", f"/server/panda/{method}", form.encode(), content_type="application/x-www-form-urlencoded"
    )
    return got.text


def rows(real: Real) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(real.dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT username, filename, hostname, filesize, checksum FROM doma_pandameta.usercacheusage ORDER BY 2"
        )
        found = cursor.fetchall()
    connection.close()
    return found


async def test_a_sandbox_is_taken_noted_and_given_back_byte_for_byte(real: Real, cache: Path) -> None:
    got = await put(real, "sources.1.tar.gz")
    assert got.json == {"success": True, "message": "", "data": None}
    assert rows(real) == [("Some User", "sources.1.tar.gz", "here.example", 108, "875770417")]
    for verb in ("GET", "POST"):
        back = await real.ask(verb, "/cache/sources.1.tar.gz")
        assert (back.status, back.body) == (200, SANDBOX)
    assert back.header("cache-control") == "public, max-age=86400"


async def test_the_older_dialect_answers_a_text(real: Real, cache: Path) -> None:
    assert (await send(real, "/server/panda/putFile", "/home/me/jobO.1.tar.gz", SANDBOX)).text == "True"
    assert (cache / "jobO.1.tar.gz").read_bytes() == SANDBOX
    got = await send(real, "/server/panda/putFile", "jobO.1.tar.gz", b"other")
    assert got.text == "ERROR: cannot overwrite file"
    assert (cache / "jobO.1.tar.gz").read_bytes() == SANDBOX


async def test_a_file_that_is_there_is_touched_and_not_overwritten(real: Real, cache: Path) -> None:
    await put(real, "jobO.1")
    os.utime(cache / "jobO.1", (0, 0))
    got = await put(real, "jobO.1", b"other")
    assert got.json == {"success": False, "message": "ERROR: cannot overwrite file", "data": None}
    assert (cache / "jobO.1").stat().st_mtime > 1
    assert (cache / "jobO.1").read_bytes() == SANDBOX


async def test_a_name_may_say_that_its_file_can_be_overwritten_by_its_owner(real: Real, cache: Path) -> None:
    for content in (b"first, of some length", b"second, of some length"):
        assert (await put(real, "jobO.1.__ow__", content)).json["success"]
    assert (cache / "jobO.1.__ow__").read_bytes() == b"second, of some length"
    assert len(rows(real)) == 1
    real.caller = OTHER
    assert (await put(real, "jobO.1.__ow__", b"third")).json["message"] == "ERROR: cannot overwrite file"
    real.caller = PRODUCTION
    assert (await put(real, "jobO.1.__ow__", b"fourth")).json["success"]


async def test_a_file_of_which_no_owner_is_known_is_overwritten_by_production_only(real: Real, cache: Path) -> None:
    (cache / "a.__ow__").write_bytes(b"old")
    assert (await put(real, "a.__ow__", b"new")).json["message"] == "ERROR: cannot overwrite file"
    real.caller = PRODUCTION
    assert (await put(real, "a.__ow__", b"new")).json["success"]


async def test_links_and_folders_are_neither_followed_nor_replaced(real: Real, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (cache / "link").symlink_to(tmp_path / "secret")
    (cache / "folder.__ow__").mkdir()
    (cache / "link.__ow__").symlink_to(tmp_path / "secret")
    real.caller = PRODUCTION
    assert (await put(real, "link")).json["message"] == "ERROR: cannot overwrite file"
    assert (await put(real, "folder.__ow__")).json["message"] == "ERROR: cannot write file"
    assert (await put(real, "link.__ow__")).json["success"]
    assert (tmp_path / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize("name", ["../x", "..", ".x", "workflow.1", "recov.1", "evp.1", "a b", "nul", "x" * 251, "/"])
async def test_names_that_are_no_files_of_users_are_refused_by_the_name_of_the_field(
    real: Real, cache: Path, name: str
) -> None:
    got = await put(real, name)
    assert (got.status, got.json["success"], got.json["data"]) == (200, False, None)
    assert got.json["message"].startswith("file: the ")
    old = await send(real, "/server/panda/putFile", name, SANDBOX)
    assert (old.status, old.text[:18]) == (400, "ERROR : file: the ")
    assert [each.name for each in cache.iterdir()] == [".incoming"]
    assert rows(real) == []


async def test_a_file_that_is_too_large_is_told_so(real: Real, cache: Path) -> None:
    got = await put(real, "jobO.1", b"\0" * (10 * MIB + 1))
    assert (got.status, got.json["success"]) == (200, False)
    assert got.json["message"].startswith("ERROR: upload failure. Exceeded size limit 11 MB > 10 MB. Please submit")
    assert (await put(real, "sources.1", b"\0" * (10 * MIB + 1))).json["success"]


async def test_who_may_not_send_is_told_so_and_nothing_stays(real: Real, cache: Path) -> None:
    for real.caller in (ANYBODY, LIMITED):
        assert (await put(real, "jobO.1")).json["message"] == "SSL secure connection is required"
        for name in ("uploadLog", "put_checkpoint", "updateLog"):
            await send(real, f"/server/panda/{name}", "1_2", b"x")
    real.caller = USER
    for name in ("upload_jedi_log", "update_jedi_log"):
        got = await send(real, f"/api/v1/file_server/{name}", "a.log", b"x")
        assert got.json["message"] == "production or pilot role required"
    assert list(cache.iterdir()) == []


async def test_files_that_are_no_sandboxes_are_not_noted(real: Real, cache: Path) -> None:
    assert (await put(real, "payload.out")).json["success"]
    assert rows(real) == []


async def test_a_form_without_a_file_names_what_is_missing(real: Real, cache: Path) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="other"; filename="x"\r\n\r\n1\r\n--b--\r\n'
    kind = "multipart/form-data; boundary=b"
    got = await real.ask("POST", "/api/v1/file_server/upload_cache_file", body, content_type=kind)
    assert got.json["message"] == "Argument error: missing a required argument: 'file'"
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n1\r\n--b--\r\n'
    got = await real.ask("POST", "/api/v1/file_server/upload_cache_file", body, content_type=kind)
    assert got.json["message"].startswith("Type error: 'file' ")


# Used again


async def test_a_sandbox_that_was_sent_lately_is_found_by_its_size_and_checksum(real: Real, cache: Path) -> None:
    await put(real, "sources.1.tar.gz")
    same = {"file_size": 108, "checksum": 875770417}
    assert await rest(real, "validate_cache_file", **same) == {
        "success": True, "message": f"{OURS}sources.1.tar.gz", "data": None,
    }  # fmt: skip
    assert (await rest(real, "validate_cache_file", file_size="108", checksum="875770417"))["success"]
    assert await legacy(real, "checkSandboxFile", "fileSize=108&checkSum=875770417") == f"{OURS}sources.1.tar.gz"
    for values in ({**same, "file_size": 107}, {**same, "checksum": 1}, {"file_size": -1, "checksum": "x"}):
        assert await rest(real, "validate_cache_file", **values) == {
            "success": False, "message": "NOTFOUND", "data": None,
        }  # fmt: skip
    real.caller = OTHER
    assert (await rest(real, "validate_cache_file", **same))["message"] == "NOTFOUND"
    assert await legacy(real, "checkSandboxFile", "fileSize=108&checkSum=875770417") == "NOTFOUND"


async def test_a_sandbox_is_used_again_for_three_days_and_while_it_is_there(real: Real, cache: Path) -> None:
    await put(real, "sources.1.tar.gz")
    same = {"file_size": 108, "checksum": 875770417}
    os.utime(cache / "sources.1.tar.gz", (0, 0))
    assert (await rest(real, "validate_cache_file", **same))["success"]
    assert (cache / "sources.1.tar.gz").stat().st_mtime > 1, "it is wanted"
    (cache / "sources.1.tar.gz").unlink()
    assert not (await rest(real, "validate_cache_file", **same))["success"]
    change = "UPDATE usercacheusage SET hostname = %s, creationtime = creationtime - %s"
    real.run(change, "there.example", timedelta(days=3) - timedelta(minutes=1))
    assert (await rest(real, "validate_cache_file", **same))["message"] == "FOUND:there.example:sources.1.tar.gz"
    real.run(change, "localhost.localdomain", timedelta(0))
    assert not (await rest(real, "validate_cache_file", **same))["success"]
    real.run(change, "there.example", timedelta(minutes=2))
    assert not (await rest(real, "validate_cache_file", **same))["success"]


async def test_another_server_may_register_a_file_that_it_has(real: Real, cache: Path) -> None:
    values = {"user_name": "joe", "file_name": "sources.2", "file_size": 5, "checksum": "7"}
    assert (await rest(real, "register_cache_file", **values))["message"] == "production or pilot role required"
    real.caller = PRODUCTION
    assert await rest(real, "register_cache_file", **values) == {"success": True, "message": "", "data": None}
    again = await rest(real, "register_cache_file", **values)
    assert (again["success"], again["message"]) == (False, "WARNING: file exist")
    assert rows(real) == [("joe", "sources.2", "192.0.2.1", 5, "7")]
    form = "userName=joe&fileName={}&fileSize=5&checkSum=7"
    assert await legacy(real, "insertSandboxFileInfo", form.format("sources.3")) == "OK"
    assert await legacy(real, "insertSandboxFileInfo", form.format("sources.3")) == "WARNING: file exist"
    assert (await rest(real, "register_cache_file", **{**values, "file_name": "../x"}))["message"].startswith(
        "file_name: the name"
    )
    assert (await legacy(real, "insertSandboxFileInfo", form.format(".x"))).startswith("ERROR : fileName: the name")


async def test_a_file_is_touched_and_a_delete_leaves_it(real: Real, cache: Path) -> None:
    (cache / "sources.1").write_bytes(b"x")
    os.utime(cache / "sources.1", (0, 0))
    assert (await rest(real, "touch_cache_file", file_name="sources.1"))["success"]
    assert (cache / "sources.1").stat().st_mtime > 1
    assert await legacy(real, "touchFile", "filename=sources.1") == "True"
    gone = await rest(real, "touch_cache_file", file_name="sources.2")
    assert (gone["success"], gone["message"][:22]) == (False, "Failed to touch file w")
    assert await legacy(real, "touchFile", "filename=sources.2") == "False"
    assert (await legacy(real, "touchFile", "filename=../x")).startswith("ERROR : filename: ")
    assert (await rest(real, "delete_cache_file", file_name="sources.1"))["success"]
    assert await legacy(real, "deleteFile", "file=sources.1") == "True"
    assert (cache / "sources.1").exists(), "other tasks may use it"


# Without a database


async def test_files_are_taken_without_a_database_and_noted_when_it_is_back(
    real: Real, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = real.core.files.book
    away = Away(book._database)
    monkeypatch.setattr(book, "_database", away)
    assert (await put(real, "sources.1.tar.gz")).json["success"]
    assert (await rest(real, "validate_cache_file", file_size=108, checksum=875770417))["message"] == "NOTFOUND"
    assert (await real.ask("GET", "/cache/sources.1.tar.gz")).body == SANDBOX
    assert (await put(real, "a.__ow__", b"mine")).json["success"]
    assert (await put(real, "a.__ow__", b"mine still")).json["success"], "its owner is known all the same"
    assert rows(real) == []
    assert await book.play() == 0
    away.up = True
    assert await book.play() == 3
    assert [(row[1], row[3]) for row in rows(real)] == [("a.__ow__", 10), ("sources.1.tar.gz", 108)]
    assert await book.play() == 0
    assert (await rest(real, "validate_cache_file", file_size=108, checksum=875770417))["success"]


class Away:
    """A database that is away until the test says otherwise."""

    def __init__(self, real: Any) -> None:
        self.real, self.up = real, False

    async def limited(self, *args: Any) -> Any:
        if not self.up:
            raise DatabaseAway
        return await self.real.limited(*args)

    async def transaction(self, *args: Any) -> Any:
        if not self.up:
            raise DatabaseAway
        return await self.real.transaction(*args)


# Logs


async def test_harvesters_pieces_of_a_log_become_one_text(real: Real, cache: Path) -> None:
    real.caller = PRODUCTION
    url = f"http://{Config.for_tests(cache).http.url_host}:25080/cache/jedilog/a.log"
    for piece in (b"first line\n", b"second line\n"):
        got = await send(real, "/api/v1/file_server/upload_jedi_log", "a.log", zlib.compress(piece))
        assert got.json == {"success": True, "message": "", "data": url}
    read = await real.ask("GET", "/cache/jedilog/a.log")
    assert read.body == b"first line\nsecond line\n"
    assert read.header("cache-control") == "public, no-cache"


async def test_a_log_that_is_no_zlib_stream_takes_the_place_of_the_older_one(real: Real, cache: Path) -> None:
    real.caller = PRODUCTION
    for text in (b"one", b"two", b"x\x9cnot a stream", zlib.compress(b"whole") + b"and more"):
        assert (await send(real, "/server/panda/uploadLog", "a.log", text)).text.endswith("/cache/jedilog/a.log")
        assert (cache / "jedilog" / "a.log").read_bytes() == text


async def test_an_update_is_put_at_the_end_of_a_log(real: Real, cache: Path) -> None:
    real.caller = PRODUCTION
    assert (await send(real, "/server/panda/updateLog", "a.log", zlib.compress(b"one "))).text == "True"
    got = await send(real, "/api/v1/file_server/update_jedi_log", "a.log", zlib.compress(b"two"))
    assert got.json == {"success": True, "message": "", "data": None}
    assert (cache / "jedilog" / "a.log").read_bytes() == b"one two"
    got = await send(real, "/api/v1/file_server/update_jedi_log", "a.log", b"plain")
    assert (got.json["success"], got.json["message"]) == (False, "file: not a whole zlib stream")
    bomb = zlib.compress(b"\0" * (4 << 20))
    got = await send(real, "/api/v1/file_server/update_jedi_log", "a.log", bomb)
    assert "inflates to more than" in got.json["message"]
    assert (cache / "jedilog" / "a.log").read_bytes() == b"one two"


async def test_a_log_is_read_from_a_byte_on_behind_a_blank(real: Real, cache: Path) -> None:
    (cache / "jedilog").mkdir()
    (cache / "jedilog" / "a.log").write_bytes("täxt".encode())
    (cache / "pilot.out").write_bytes(b"out")
    path = "/api/v1/file_server/download_jedi_log?log_name="
    got = await real.ask("GET", f"{path}a.log", accept="application/json")
    assert (got.header("content-type"), got.text) == ("text/plain; charset=utf-8", " täxt")
    assert (await real.ask("GET", f"{path}a.log&offset=3")).text == " xt"
    assert (await real.ask("GET", f"{path}pilot.out")).text == " out"
    real.caller = ANYBODY
    assert (await real.ask("GET", f"{path}a.log")).json["success"] is False
    assert await legacy(real, "fetchLog", "logName=a.log&offset=3") == " xt"
    assert await legacy(real, "fetchLog", "logName=none.log") == " "
    assert (await legacy(real, "fetchLog", "logName=../secret")).startswith("ERROR : logName: the name must not lead")


# Checkpoints


@pytest.fixture
def task(real: Real) -> None:
    real.run(
        "INSERT INTO doma_panda.jedi_tasks (jeditaskid, taskname, status, username, creationdate, modificationtime,"
        " reqid, oldstatus, cloud, site, prodsourcelabel) VALUES (12, 't', 'running', 'Some User', now(), now(),"
        " 12, 'x', 'x', 'x', 'user')"
    )


async def test_a_checkpoint_is_kept_for_the_owner_of_its_task(real: Real, cache: Path, task: None) -> None:
    got = await send(real, "/api/v1/file_server/upload_hpo_checkpoint", "12_3", b"one")
    assert got.json == {
        "success": True, "message": "Successfully placed at /cache/hpo_cp_12_3", "data": "/cache/hpo_cp_12_3",
    }  # fmt: skip
    got = await send(real, "/server/panda/put_checkpoint", "/data/12_3", b"two")
    assert got.json == {"status": True, "message": "Successfully placed at /cache/hpo_cp_12_3"}
    assert (await real.ask("POST", "/cache/hpo_cp_12_3", b"{}", content_type=JSON)).body == b"two"
    real.caller = OTHER
    for who in ("12_3", "13_1"):
        got = await send(real, "/api/v1/file_server/upload_hpo_checkpoint", who, b"three")
        assert (got.json["success"], got.json["message"]) == (False, "not the task owner or no production role")
    assert not (await rest(real, "delete_hpo_checkpoint", task_id="12", sub_id="3"))["success"]
    assert (cache / "hpo_cp_12_3").read_bytes() == b"two"
    real.caller = USER
    assert (await rest(real, "delete_hpo_checkpoint", task_id="12", sub_id="3"))["success"]
    assert (await real.ask("GET", "/cache/hpo_cp_12_3")).status == 404


async def test_harvester_asks_for_checkpoints_outside_the_api(real: Real, cache: Path) -> None:
    real.caller = PRODUCTION
    got = await send(real, "/file_server/upload_hpo_checkpoint", "12_3", b"one", accept=JSON)
    assert got.json["success"]
    body = b'{"task_id": "12", "sub_id": "3"}'
    got = await real.ask("POST", "/file_server/delete_hpo_checkpoint", body, content_type=JSON, accept=JSON)
    assert got.json == {"success": True, "message": "", "data": None}
    got = await real.ask("POST", "/file_server/delete_hpo_checkpoint", body, content_type=JSON, accept=JSON)
    assert (got.json["success"], got.json["message"][:24]) == (False, "Failed to delete file du")
    assert (await real.ask("POST", "/file_server/upload_cache_file", body, content_type=JSON)).status == 403


async def test_the_older_dialect_says_in_json_what_became_of_a_checkpoint(real: Real, cache: Path) -> None:
    real.caller = PRODUCTION
    got = await real.ask("POST", "/server/panda/delete_checkpoint?", b"task_id=12&sub_id=3")
    assert got.json == {"status": False, "message": "Failed to delete file due to no file hpo_cp_12_3"}
    for name in ("12", "a_b", "12_../x", "12_3_4"):
        got = await send(real, "/server/panda/put_checkpoint", name, b"x")
        assert (got.status, got.text[:14]) == (400, "ERROR : file: ")


async def test_the_cache_port_gives_the_same_files_and_takes_none(real: Real, cache: Path) -> None:
    await put(real, "sources.1.tar.gz")
    port = attrs.evolve(real, root=real.cache)
    first = await port.ask("GET", "/cache/sources.1.tar.gz")
    assert (first.status, first.body) == (200, SANDBOX)
    again = await port.ask("GET", "/cache/sources.1.tar.gz", if_none_match=first.header("etag") or "")
    assert (again.status, again.body) == (304, b"")
    assert (await port.ask("GET", "/cache/sources.1.tar.gz", range="bytes=0-9")).body == SANDBOX[:10]
    assert (await put(port, "sources.2.tar.gz")).status == 404
    assert not (cache / "sources.2.tar.gz").exists()
