"""What the static trees give, and what they keep to themselves."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from sites import Site, site_of

from pandatx.ops.health import Livez
from pandatx.resources.static import Auth, Cache, Static, Trees


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    cache = tmp_path / "cache"
    (cache / "jedilog").mkdir(parents=True)
    (cache / "sandbox.tar.gz").write_bytes(b"0123456789")
    (cache / "page.html").write_text("<script>")
    (cache / "jedilog" / "a.log").write_text("text")
    (cache / "jedilog" / "a.log.1").write_bytes(gzip.compress(b"inflated by the client"))
    (tmp_path / "secret").write_text("secret")
    (cache / "link").symlink_to(tmp_path / "secret")
    (cache / "dir").symlink_to(tmp_path)
    os.mkfifo(cache / "fifo")
    (tmp_path / "schedconfig").mkdir()
    (tmp_path / "schedconfig" / "OLD.all.json").write_text("{}")
    (tmp_path / "schedconfig" / "OLD.pilot.json").write_text("{}")
    return tmp_path


async def document(name: str) -> bytes | None:
    return b'{"nickname": "LOCAL"}' if name == "LOCAL" else None


@pytest.fixture
def site(tree: Path) -> Site:
    return site_of(trees={b"cache": Cache(tree / "cache", tree / "schedconfig", document), b"trf": Static(tree)})


async def test_files_are_given_to_get_head_and_post(site: Site) -> None:
    for method, body in (("GET", b"0123456789"), ("HEAD", b""), ("POST", b"0123456789")):
        answer = await site.ask(method, "/cache/sandbox.tar.gz", None, b"{}" if method == "POST" else None)
        assert (answer.status, answer.body) == (200, body), method
    assert not answer.header("content-encoding"), "a client would undo it"
    assert (await site.ask("PUT", "/cache/sandbox.tar.gz")).status == 405


async def test_a_post_has_no_conditions_and_gets_the_file_again(site: Site) -> None:
    first = await site.get("/cache/sandbox.tar.gz")
    for name, value in (("if_none_match", first.header("etag")), ("if_modified_since", first.header("last-modified"))):
        assert value
        assert (await site.get("/cache/sandbox.tar.gz", **{name: value})).status == 304
        again = await site.post("/cache/sandbox.tar.gz", b"{}", **{name: value})
        assert (again.status, again.body) == (200, b"0123456789"), name


async def test_only_a_sandbox_is_kept_by_a_cache_before_us_without_asking(site: Site, tree: Path) -> None:
    for name in ("sources.1.tar.gz", "jobO.1.tar.gz", "jedilog/sources.1", "hpo.1.tar.gz"):
        (tree / "cache" / name).write_text("x")
    kept = {
        name: (await site.get(f"/cache/{name}")).header("cache-control")
        for name in ("sources.1.tar.gz", "jobO.1.tar.gz", "jedilog/sources.1", "hpo.1.tar.gz")
    }
    lasting, asked = "public, max-age=86400", "public, no-cache"
    assert list(kept.values()) == [lasting, lasting, asked, asked]


async def test_a_browser_is_kept_from_running_what_strangers_uploaded(site: Site) -> None:
    answer = await site.get("/cache/page.html")
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("content-disposition") == 'attachment; filename="page.html"'
    assert "sandbox" in (answer.header("content-security-policy") or "")


async def test_nothing_outside_and_nothing_but_files_is_given(site: Site) -> None:
    for path in (
        "link", "dir/secret", "fifo", "", "jedilog", "jedilog/", "../secret", "%2e%2e/secret", "..%2fsecret",
        "nothing", "a%00b", "jedilog//a.log", "./sandbox.tar.gz", "%ff", "/etc/passwd", "jedilog/../sandbox.tar.gz",
    ):  # fmt: skip
        answer = await site.get(f"/cache/{path}")
        assert (answer.status, answer.text) == (404, "not found"), path


async def test_logs_that_are_not_named_so_are_gzip(site: Site) -> None:
    assert (await site.get("/cache/jedilog/a.log")).text == "text"
    assert (await site.get("/cache/jedilog/a.log.1")).text == "inflated by the client"


async def test_validators_spare_a_second_transfer(site: Site) -> None:
    first = await site.get("/cache/sandbox.tar.gz")
    tag, changed = first.header("etag"), first.header("last-modified")
    assert tag and changed
    for headers in ({"if_none_match": tag}, {"if_modified_since": changed}):
        again = await site.get("/cache/sandbox.tar.gz", **headers)
        assert (again.status, again.body, again.header("etag")) == (304, b"", tag)
    other = await site.get("/cache/sandbox.tar.gz", if_none_match='"other"', if_modified_since=changed)
    assert other.status == 200


async def test_a_part_is_given_of_an_unchanged_file_only(site: Site) -> None:
    tag = (await site.get("/cache/sandbox.tar.gz")).header("etag") or ""
    part = await site.get("/cache/sandbox.tar.gz", range="bytes=2-4", if_range=tag)
    assert (part.status, part.body, part.header("content-range")) == (206, b"234", "bytes 2-4/10")
    whole = await site.get("/cache/sandbox.tar.gz", range="bytes=2-4", if_range='"older"')
    assert (whole.status, len(whole.body)) == (200, 10)
    assert (await site.get("/cache/sandbox.tar.gz", range="bytes=20-")).status == 416


async def test_a_queue_is_described_from_what_the_server_knows_then_from_the_directory(site: Site) -> None:
    answer = await site.get("/cache/schedconfig/LOCAL.all.json")
    assert (answer.json, answer.header("content-type")) == ({"nickname": "LOCAL"}, "application/json")
    assert (
        await site.get("/cache/schedconfig/LOCAL.all.json", if_none_match=answer.header("etag") or "")
    ).status == 304
    assert (await site.get("/cache/schedconfig/OLD.all.json")).json == {}
    assert (await site.get("/cache/schedconfig/OLD.pilot.json")).json == {}
    for path in ("NONE.all.json", "NONE.pilot.json", ""):
        assert (await site.get(f"/cache/schedconfig/{path}")).status == 404, path
    head = await site.ask("HEAD", "/cache/schedconfig/LOCAL.all.json")
    assert (head.status, head.body) == (200, b"")


async def test_the_cache_port_has_nothing_but_files(tree: Path) -> None:
    site = Site(Trees({b"trf": Static(tree)}, {b"/livez": Livez()}))
    assert (await site.get("/livez")).text == "ok\n"
    assert (await site.get("/trf/secret")).text == "secret"
    assert (await site.post("/server/panda/isAlive")).status == 404


@pytest.fixture
def auth(tmp_path: Path) -> Any:
    def entry(name: str, **values: Any) -> None:
        (tmp_path / name).write_text(json.dumps({"client_id": "c", **values}))

    entry("atlas_auth_config.json", client_secret="public enough")
    entry("atlas.production_auth_config.json", client_secret="robot's", robot_ids=["r"])
    entry("eic:user_auth_config.json")
    entry("token_cache.json")
    (tmp_path / "broken_auth_config.json").write_text("{")
    (tmp_path / "deep_auth_config.json").write_text("[" * 100_000)
    (tmp_path / "dir_auth_config.json").mkdir()
    os.mkfifo(tmp_path / "fifo_auth_config.json")
    (tmp_path / "linked_auth_config.json").symlink_to(tmp_path / "atlas_auth_config.json")
    return site_of(trees={b"auth": Auth(tmp_path)})


async def test_the_issuers_configuration_is_given_in_either_spelling_without_a_robots_secret(auth: Site) -> None:
    assert (await auth.get("/auth/atlas_auth_config.json")).json["client_secret"] == "public enough"
    for spelling in ("atlas.production", "atlas:production", "atlas%3Aproduction"):
        assert (await auth.get(f"/auth/{spelling}_auth_config.json")).json == {
            "client_id": "c",
            "client_secret": "",
            "robot_ids": ["r"],
        }
    for spelling in ("eic:user", "eic.user"):
        assert (await auth.get(f"/auth/{spelling}_auth_config.json")).json["client_secret"] is None


async def test_a_file_of_the_operators_may_be_a_link_as_a_config_map_has_it(auth: Site) -> None:
    assert (await auth.get("/auth/linked_auth_config.json")).json["client_secret"] == "public enough"


async def test_nothing_else_of_the_auth_directory_is_shown(auth: Site) -> None:
    bad = (f"{name}_auth_config.json" for name in ("../x", "none", "broken", "deep", "dir", "fifo"))
    for path in ("token_cache.json", "", *bad):
        assert (await auth.get(f"/auth/{path}")).status == 404, path


# What a squid in front of the cache port goes by


async def test_a_sandbox_is_kept_by_caches_and_all_else_is_asked_for_again(site: Site, tree: Path) -> None:
    for name in ("sources.1.tar.gz", "jobO.1.tar.gz", "jobO.1.__ow__", "hpo_cp_1_2"):
        (tree / "cache" / name).write_bytes(b"x")
    lasting = "public, max-age=86400"
    for path, kept in (
        ("sources.1.tar.gz", lasting), ("jobO.1.tar.gz", lasting), ("jobO.1.__ow__", "public, no-cache"),
        ("hpo_cp_1_2", "public, no-cache"), ("jedilog/a.log", "public, no-cache"),
        ("schedconfig/LOCAL.all.json", "public, max-age=60"), ("none", "no-store"),
    ):  # fmt: skip
        assert (await site.get(f"/cache/{path}")).header("cache-control") == kept, path
    answer = await site.get("/cache/sources.1.tar.gz")
    assert not answer.header("set-cookie") and not answer.header("vary")
    again = await site.get("/cache/sources.1.tar.gz", if_none_match=answer.header("etag") or "")
    assert (again.status, again.header("cache-control"), again.header("etag")) == (304, lasting, answer.header("etag"))


async def test_what_comes_in_and_hidden_files_are_nobodys(site: Site, tree: Path) -> None:
    (tree / "cache" / ".incoming").mkdir()
    (tree / "cache" / ".incoming" / "x").write_bytes(b"half of it")
    (tree / "cache" / ".hidden").write_bytes(b"x")
    for path in (".incoming/x", ".incoming", ".hidden", "jedilog/.x", "schedconfig/.x"):
        assert (await site.get(f"/cache/{path}")).status == 404, path


async def test_a_log_of_plain_text_is_not_called_gzip_whatever_its_name(site: Site, tree: Path) -> None:
    (tree / "cache" / "jedilog" / "b.out").write_bytes(b"plain")
    answer = await site.get("/cache/jedilog/b.out")
    assert answer.text == "plain"
    assert not answer.header("content-encoding")
