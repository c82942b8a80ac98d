"""What a whole server learns from dumps of CRIC, and what it serves of it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from server import Home, until
from test_daemon_commands import section

NAMES = ("sites", "endpoints", "queues", "tags", "closeness")
DAEMONS: dict[str, dict[str, Any]] = {
    "configurator": {"period": 5},
    "network_configurator": {"module": "configurator", "arguments": ["--network"], "period": 5},
    "schedconfig_json": {"module": "configurator", "arguments": ["--json_dump"], "period": 5},
    "sw_tags": {"module": "configurator", "arguments": ["--sw_tags"], "period": 5},
    "typo": {"module": "configurator", "arguments": ["--tags"], "period": 5},
    "cache_schedconfig": {"period": 5},
    "proxyCache": {"module": "panda_activeusers_query", "period": 5},
    "carbon": {"period": 5},
    "hs_scrapers": {"period": 5},
}


def errors(home: Home) -> dict[str, str]:
    """What the last runs of daemons failed of, by name; nothing of those that did not fail."""
    listed = home.command("daemon", "list", "--json").stdout
    found = {each["name"]: each["last_error"] for each in map(json.loads, listed.splitlines())}
    assert set(DAEMONS) <= found.keys()
    return {name: error for name, error in found.items() if error is not None}


def dumps(folder: Path) -> dict[str, Path]:
    """Files that stand for CRIC: a site with a queue and an endpoint."""
    active = {"state": "ACTIVE"}
    site = {**active, "tier_level": 2, "ddmendpoints": {"DISK": active}, "presources": {"R": {"FAR": active}}}
    queue = {"nickname": "FAR", "panda_resource": "FAR", "type": "unified", "cloud": "US", "status": "online"}
    contents: dict[str, Any] = {
        "sites": {"SITE": site},
        "endpoints": {"DISK": {**active, "site": "SITE", "token": "T", "type": "DATADISK", "is_tape": False}},
        "queues": {"FAR": {**queue, "atlas_site": "SITE", "astorages": {"read_lan": ["DISK"]}}},
        "tags": {"FAR": [{"cmtconfig": "x86_64"}]},
        "closeness": [{"src": "SITE", "dst": "SITE", "closeness": 1}],
    }
    paths = {name: folder / f"{name}.json" for name in contents}
    for name, path in paths.items():
        path.write_text(json.dumps(contents[name]))
    return paths


def test_dumps_become_tables_and_files_and_one_wrong_argument_costs_one_daemon(home: Home, tmp_path: Path) -> None:
    at = {name: f"file://{path}" for name, path in dumps(tmp_path).items()}
    home.set(
        "server",
        CRIC_URL_SITES=at["sites"],
        CRIC_URL_DDMENDPOINTS=at["endpoints"],
        CRIC_URL_SCHEDCONFIG=at["queues"],
        CRIC_URL_TAGS=at["tags"],
        CRIC_URL_CM=at["closeness"],
        schedconfig_cache_dir=home.path / "schedconfig",
    )
    section(home, f"[daemon]\nenable = True\nconfig = {json.dumps(DAEMONS)}\n")
    with home.server() as server:
        tables = home.tables()
        for query, row in (
            ("SELECT site_name, role FROM doma_panda.site", ("SITE", "satellite")),
            ("SELECT panda_site_name, site_name FROM doma_panda.panda_site", ("FAR", "SITE")),
            ("SELECT ddm_endpoint_name, site_name FROM doma_panda.ddm_endpoint", ("DISK", "SITE")),
            ("SELECT panda_site_name, ddm_endpoint_name FROM doma_panda.panda_ddm_relation", ("FAR", "DISK")),
            ("SELECT panda_queue FROM doma_panda.sw_tags", ("FAR",)),
            ("SELECT src, key FROM doma_panda.network_matrix_kv", ("SITE", "AGIS_closeness")),
        ):
            until(lambda query=query, row=row: tables.query(query) == [row], query)
        for name in ("schedconfig.all.json", "FAR.factory.json", "FAR.all.json"):
            address = f"{home.web}/cache/schedconfig/{name}"
            until((home.path / "schedconfig" / name).exists, name)
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert "FAR" in answer.read().decode()
        until(lambda: "typo" in errors(home), lambda: server.text)
        found = errors(home)
        assert (
            found.pop("typo")
            == "configurator takes one of --network, --json_dump and --sw_tags, or nothing; not --tags"
        )
        assert found == {}
        until(lambda: server.text.count("stays idle") >= 4, server.text)
        assert "Traceback" not in server.text
