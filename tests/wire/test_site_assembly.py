"""What is served where, and by which names we know ourselves (rules R13, R23, R26, R32)."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from real import Real
from sites import PRODUCTION

from pandatx.config import Config
from pandatx.errors import EXIT_CONFIGURATION, StartFault
from pandatx.metrics import REQUESTS
from pandatx.resources.api import collect
from pandatx.serving import RESOURCES
from pandatx.site import limited, own_origins


@pytest.mark.parametrize(
    ("changes", "origins"),
    [
        ({"url_https_port": 25443, "url_http_port": 25080}, {"panda.example:25443", "panda.example:25080"}),
        ({"url_https_port": 443, "url_http_port": 80}, {"panda.example"}),
        ({"url_host_http": "WEB.example", "url_https_port": 443}, {"panda.example", "web.example:25080"}),
    ],
)
def test_our_origins_are_the_urls_that_we_give_away(tmp_path: Path, changes: dict, origins: set[str]) -> None:
    http = Config.for_tests(tmp_path, http={"url_host": "Panda.Example", "url_host_http": "panda.example"}).http
    assert set(own_origins(evolve(http, **changes))) == origins


async def test_a_page_of_ours_may_call_under_another_host_name(shared_real: Real) -> None:
    shared_real.caller = PRODUCTION
    ask = {"body": b'{"job_ids": [999]}', "content_type": "application/json", "host": "10.0.0.1"}
    got = await shared_real.ask("POST", "/api/v1/job/kill", origin="https://localhost:25443", **ask)
    assert got.json["data"] == [False]
    got = await shared_real.ask("POST", "/api/v1/job/kill", origin="https://localhost:1", **ask)
    assert got.status == 403


async def test_the_cache_port_has_transforms_and_health_but_no_operation(shared_real: Real) -> None:
    port = evolve(shared_real, root=shared_real.cache)
    assert (await port.ask("GET", "/livez")).text == "ok\n"
    for path in ("/server/panda/isAlive", "/api/v1/system/is_alive", "/auth/x_auth_config.json", "/trf/nothing"):
        assert (await port.ask("GET", path)).status == 404, path
    assert sorted(port.root._trees) == [b"cache", b"cric", b"trf"]


async def test_each_request_is_counted_by_operation_dialect_and_status(shared_real: Real) -> None:
    counted = REQUESTS.labels("system/is_alive", "v1", 200)
    before = counted._value.get()
    for _ in range(3):
        await shared_real.ask("GET", "/api/v1/system/is_alive")
    assert counted._value.get() == before + 3


@pytest.mark.parametrize(
    ("path", "mib"),
    [
        ("/server/panda/getJob", 64),
        ("/api/v1/job/submit", 256),
        ("/api/latest/job/submit?x=1", 256),
        ("/api/v1/file_server/upload_cache_file", 770),
        ("/server/panda/putFile", 770),
        ("/cache/a_file", 1),
        ("/api/v1/nothing/at_all", 1),
    ],
)
async def test_how_large_a_body_may_be_is_declared_with_its_operation(shared_real: Real, path: str, mib: int) -> None:
    assert shared_real.root.body_limit(path.encode()) == mib << 20


def test_limits_of_an_operation_that_is_not_served_keep_the_server_from_starting(tmp_path: Path) -> None:
    table = collect(*RESOURCES)
    http = Config.for_tests(tmp_path, http={"operation_limits": {"job/kill": {"seconds": 5}}}).http
    assert limited(table, http).by_legacy["killJobs"].operation.limits.seconds == 5
    with pytest.raises(StartFault, match="operation_limits: no operation is called 'job/none'") as fault:
        limited(table, evolve(http, operation_limits={"job/none": {"seconds": 5}}))
    assert fault.value.exit_code == EXIT_CONFIGURATION
